"""Which joins are computed in integers, and where an operand is requantised for one.

TFLite gives the operands and the result of a join one scale. What this costs is measured on inputs
(`trial`), against the noise that the operands have anyway:

- A join that is *visible* in an output stays in floats where an operand gets over `_LOSS` dB noisier, or
  keeps less than `_KEPT` of its codes.
- Of any other join the layers of weights that read it are asked: it stays in floats, and they with it, where
  an operand is spoiled in both ways and what they make gets over `_LOSS` dB noisier. So where operands'
  ranges differ, but matter less than the noise that there is, as in DenseNet and Inception, the network
  keeps its integers.
- An operand of a join in integers that others read, too, keeps its own range for them, and is requantised
  for the join, where it would get over `_LOSS` dB noisier. A network's input, and what has a prescribed
  range, always keep theirs.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np
import onnx

from edgepress.compress.quantisation.joins import Join, find_joins, followers, own_ranges
from edgepress.compress.quantisation.qdq import tensors_of_fixed_range
from edgepress.compress.quantisation.rounding import decibels, step_noise
from edgepress.compress.quantisation.scales import UNIT, unit_range
from edgepress.compress.quantisation.sharing import Ranges, constant_ranges, scale_groups
from edgepress.compress.quantisation.trial import Tensors, Trial
from edgepress.datasets.samples import Inputs, as_samples
from edgepress.graph.kept_floats import follow, joined_ranges, keep_float, stays_float
from edgepress.graph.view import consumers, copy, initializers, replace_nodes, set_initializer
from edgepress.measure.entries import declared_entries

_LOSS = 1.0
"""dB by which a range may raise the noise: as one 12% wider does where there is no other noise."""

_KEPT = 0.5
"""The share of its codes that an operand of a visible join has to keep."""

_INPUTS = 8
"""How many of the calibration inputs are measured with."""

_APART = 2
"""A tensor that more joins share has one range for all of them, or each would requantise it once more."""

JOINED = "joined"
"""Begins the names of tensors that are requantised for joins, before the number of these."""

Bounds = tuple[float, float]


def with_joins(
    model: onnx.ModelProto, ranges: Ranges, inputs: Inputs
) -> tuple[onnx.ModelProto, dict[str, Bounds]]:
    """Mark the nodes that stay in floats, and put an Identity where an operand is requantised.

    Args:
        model: float32, from `prepared`.
        ranges: of its activations by tensor name.
        inputs: from which those to measure with are taken.

    Returns:
        The model and the ranges of its tensors; the same ones where no operand's range differs from a join's.
    """
    fixed = tensors_of_fixed_range(model)
    known = {**constant_ranges(model, ("Concat", "Max", "Min", "Where", "Pad")), **ranges}
    known = {name: bounds for name, bounds in known.items() if np.isfinite(bounds).all()}  # a mask's infinity
    groups = scale_groups(model, known, fixed, joining=False)
    own, found = own_ranges(groups, known), find_joins(model, known)
    if not any(_apart(own[name], join.bounds(own)) for join in found for name in join.operands):
        return model, dict(ranges)
    decided, trial = copy(model), Trial(model, own, _feeds(model, inputs))
    trial.watch({name for join in found for name in (*join.operands, join.result)})
    mark(decided, _in_floats(model, found, own, trial))
    kept = {codes: ranges[name] for name, codes in _keep_input(decided).items() if name in ranges}
    decided, fresh = _requantised(decided, own, groups, fixed, trial)
    return decided, {**ranges, **kept, **fresh}


def _feeds(model: onnx.ModelProto, inputs: Inputs) -> list[Tensors]:
    """Inputs from all over, one by one or as many as the model wants at once."""
    entries, samples = declared_entries(model), as_samples(inputs)
    batch = samples.group(entries)
    count = min(_INPUTS, max(len(samples) // batch, 1))
    starts = np.linspace(0, max(len(samples) - batch, 0), count).astype(int)
    return [next(samples[start : start + batch].feeds(entries)) for start in starts]


def _apart(own: Bounds, shared: Bounds) -> bool:
    """Whether rounding alone makes over `_LOSS` dB of difference."""
    return decibels(step_noise(shared), step_noise(own)) > _LOSS


def _kept(own: Bounds, shared: Bounds) -> float:
    """The share of the shared range's codes that cover an operand's own."""
    return float((step_noise(own) / step_noise(shared)) ** 0.5) if step_noise(shared) else 1.0


def _in_floats(model: onnx.ModelProto, found: list[Join], own: Ranges, trial: Trial) -> dict[str, str]:
    """The joins that stay in floats by node, and why."""
    reasons = dict[str, str]()
    for join in sorted(found, key=lambda each: not each.visible):
        shared = join.bounds(own)
        losses = {name: trial.loss(name, shared) for name in join.operands}
        spoiled = [name for name, loss in losses.items() if _spoils(join, loss, _kept(own[name], shared))]
        if not spoiled or join.node.name in followers(model, reasons):
            continue
        behind = 0.0 if join.visible else trial.loss_behind(join, shared)
        if join.visible or behind > _LOSS:
            worst = max(spoiled, key=lambda name: losses[name])
            reasons[join.node.name] = _reason(join, own, worst, losses[worst], behind)
    return reasons


def _spoils(join: Join, loss: float, kept: float) -> bool:
    """Whether a loss of so many dB and a share of codes that is kept are too little for an operand.

    What is chosen from by Max, Min and Where, or added up by a layer, is mixed with the others anyway: there
    both count together.
    """
    if join.visible and join.node.op_type in ("Concat", "Pad"):
        return loss > _LOSS or (loss > 0 and kept < _KEPT)
    return loss > _LOSS and kept < _KEPT


def _reason(join: Join, own: Ranges, worst: str, loss: float, behind: float) -> str:
    effect = f"{loss:.1f} dB noisier" if join.visible else f"what layers make of it {behind:.1f} dB noisier"
    return f"{joined_ranges({name: own[name] for name in join.operands}, worst)}, {effect}"


def mark(model: onnx.ModelProto, reasons: Mapping[str, str]) -> None:
    """Say in the model, in place, that these joins stay in floats, and what follows them."""
    behind = followers(model, reasons)
    for node in model.graph.node:
        if node.name in reasons:
            keep_float(node, reasons[node.name])
        elif node.name in behind:
            follow(node, behind[node.name])


def _keep_input(model: onnx.ModelProto) -> dict[str, str]:
    """An input that floats alone read is quantised all the same: so it has its range, in codes or not.

    Returns:
        What stands for each such input from now on.
    """
    standing = dict[str, str]()
    for entry in declared_entries(model):
        readers = consumers(model)[entry.name]
        if entry.dtype == "float32" and readers and all(stays_float(node) for node in readers):
            name, codes = entry.name, f"{JOINED}.{entry.name}"
            for node in readers:
                node.input[:] = [codes if one == name else one for one in node.input]
            identity = onnx.helper.make_node("Identity", [name], [codes], codes)
            replace_nodes(model, [identity, *model.graph.node])
            standing[name] = codes
    return standing


def _requantised(
    model: onnx.ModelProto, own: Ranges, groups: Mapping[str, set[str]], fixed: Collection[str], trial: Trial
) -> tuple[onnx.ModelProto, dict[str, Bounds]]:
    """The model with operands requantised for joins in integers, and the ranges of what is new in it."""
    clusters = _clusters(
        [join for join in find_joins(model, own) if not stays_float(join.node)], groups, trial, own
    )
    chosen = {
        (join.node.name, name): f"{JOINED}{number}.{name}"
        for number, cluster in enumerate(clusters)
        for join in cluster
        for name in _to_requantise(model, cluster, own, groups, fixed, trial).intersection(join.operands)
    }
    results = {join.result for cluster in clusters for join in cluster}
    forms = {name: sorted({form for (_, n), form in chosen.items() if n == name}) for _, name in chosen}
    constants, made, nodes = initializers(model), set[str](), list[onnx.NodeProto]()
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            fresh = chosen.get((node.name, name))
            if fresh is None:
                continue
            if fresh not in made and name in constants:
                set_initializer(model, fresh, constants[name])
            elif fresh not in made and len(forms[name]) == 1 and groups[name].isdisjoint({*results, *fixed}):
                nodes.append(onnx.helper.make_node("Identity", [name], [fresh], fresh))
            elif fresh not in made:
                factor = f"{UNIT}{forms[name].index(fresh)}"
                nodes.append(onnx.helper.make_node("Mul", [name, factor], [fresh], fresh))
                set_initializer(model, factor, np.ones((), np.float32))
            made.add(fresh)
            node.input[i] = fresh
        nodes.append(node)
    replace_nodes(model, nodes)
    factors = [tensor.name for tensor in model.graph.initializer if tensor.name.startswith(UNIT)]
    fresh_ranges = {fresh: own[name] for (_, name), fresh in chosen.items()}
    return model, fresh_ranges | {name: unit_range(name) for name in factors}


def _clusters(
    found: list[Join], groups: Mapping[str, set[str]], trial: Trial, own: Ranges
) -> list[list[Join]]:
    """Joins that share operands, or join each other's results, together where that costs none much."""
    cluster = {join.result: [join] for join in found}
    touching: dict[int, list[Join]] = {}
    for join in found:
        for group in {id(groups[name]) for name in (*join.operands, join.result)}:
            touching.setdefault(group, []).append(join)
    for near in touching.values():
        ordered = sorted(near, key=lambda join: step_noise(join.bounds(own)))
        for narrow, wide in pairwise(ordered):
            one, other = cluster[narrow.result], cluster[wide.result]
            watched = (*narrow.operands, narrow.result) if narrow.visible else (narrow.result,)
            near_enough = all(trial.loss(name, wide.bounds(own)) <= _LOSS for name in watched)
            if one is not other and (near_enough or len(near) > _APART):
                one.extend(other)
                for join in other:
                    cluster[join.result] = one
    return list({id(each): each for each in cluster.values()}.values())


def _to_requantise(
    model: onnx.ModelProto,
    cluster: list[Join],
    own: Ranges,
    groups: Mapping[str, set[str]],
    fixed: Collection[str],
    trial: Trial,
) -> set[str]:
    """The operands of a cluster of joins that are to keep ranges of their own."""
    bounds = [join.bounds(own) for join in cluster]
    shared = min(low for low, _ in bounds), max(high for _, high in bounds)
    within, results = {join.node.name for join in cluster}, {join.result for join in cluster}
    ends = {entry.name for entry in model.graph.input}.union(fixed)
    read, outputs = consumers(model), {output.name for output in model.graph.output}
    chosen = set[str]()
    for name in {name for join in cluster for name in join.operands}:
        group = groups[name]
        if not group.isdisjoint(results):
            continue
        if not group.isdisjoint(ends):
            kept = own[name] != shared
        else:
            moved = {id(n) for one in group for n in read[one] if not group.isdisjoint(n.output)}
            others = any(n.name not in within and id(n) not in moved for one in group for n in read[one])
            kept = (others or not group.isdisjoint(outputs)) and trial.loss(name, shared) > _LOSS
        if kept:
            chosen.add(name)
    return chosen
