"""A network and its rounded form, run side by side: what rounding does, and what a join's range adds."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from edgepress.compress.quantisation.joins import Join, is_mixing
from edgepress.compress.quantisation.rounding import ROUNDED, decibels, rounded, rounding_network, step_noise
from edgepress.compress.quantisation.sharing import Ranges, joins
from edgepress.datasets.prepared import Array
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import copy, initializers, keep_initializers, replace_nodes

_SAMPLED = 4096
"""Elements of a tensor that are looked at in each run."""

_SHARED = ".shared"

Bounds = tuple[float, float]
Tensors = dict[str, Array]


@dataclass(frozen=True)
class _Sample:
    """Some elements of a tensor: as they are, and in the rounded network before and after rounding."""

    exact: Array
    before: Array
    after: Array


class Trial:
    """Runs of a float network and of its rounded form on the same inputs.

    `ranges` are those of its tensors without regard to joins, constants that are joined included.
    """

    def __init__(self, model: onnx.ModelProto, ranges: Ranges, feeds: Sequence[Tensors]) -> None:
        self._model, self._ranges, self._feeds = model, ranges, feeds
        self._network = rounding_network(model, ranges)
        self._made = {name for node in self._network.graph.node for name in node.output}
        self._samples: dict[str, _Sample] = {}

    def watch(self, names: Iterable[str]) -> None:
        """Keep some elements of these tensors, whose `loss` can then be asked."""
        parts: dict[str, list[_Sample]] = {name: [] for name in names}
        for exact, before, after in self._runs(list(parts)):
            for name, seen in parts.items():
                seen.append(_sample(exact[name], before[name], after[name]))
        self._samples |= {name: _together(each) for name, each in parts.items()}

    def loss(self, name: str, shared: Bounds) -> float:
        """By how many dB the tensor gets noisier in the codes of this range instead of its own."""
        sample = self._samples[name]
        if not np.ptp(sample.exact):  # a single number is as near to a code as need be
            return 0.0
        noise, own = (
            float(np.mean((values - sample.exact) ** 2))
            for values in (rounded(sample.before, shared), sample.after)
        )
        return decibels(noise, max(own, step_noise(self._ranges[name])))

    def loss_behind(self, join: Join, shared: Bounds) -> float:
        """By how many dB what is made of a join gets noisier if its operands have this range, at worst.

        That are the results of the layers of weights that it leads to, and what enters other joins.
        """
        part = _part_behind(self._network, join)
        if not part.ends:
            return 0.0
        running, noises = _session(part.model, part.ends), {name: np.zeros(2) for name in part.ends}
        for exact, before, after in self._runs([*part.operands, *part.ends], part.others):
            operands = {f"{name}{_SHARED}": rounded(after[name], shared) for name in part.operands}
            ends = _fetch(running, {**operands, **{name: after[name] for name in part.others}}, part.ends)
            for name in part.ends:
                both = (ends[name], before[name])
                noises[name] += [float(np.mean((values - exact[name]) ** 2)) for values in both]
        return max(self._grown(name, *noises[name] / len(self._feeds)) for name in part.ends)

    def _grown(self, name: str, noise: float, own: float) -> float:
        rounding = step_noise(self._ranges[name]) if name in self._ranges else 0.0
        return decibels(noise + rounding, own + rounding)

    def _runs(
        self, names: Sequence[str], others: Sequence[str] = ()
    ) -> Iterator[tuple[Tensors, Tensors, Tensors]]:
        """For each input what tensors are; and in the rounded network, before and after they are rounded.

        Of `others`, which are named as in the rounded network, there is only the last.
        """
        held = initializers(self._model)
        constants = {name: held[name] for name in names if name in held}
        fixed = {name: rounded(values, self._ranges[name]) for name, values in constants.items()}
        names = [name for name in dict.fromkeys(names) if name not in held]
        ends = {name: f"{name}{ROUNDED}" if f"{name}{ROUNDED}" in self._made else name for name in names}
        wanted = list(dict.fromkeys([*names, *ends.values(), *others]))
        exactly, roundly = _session(self._model, names), _session(self._network, wanted)
        for feeds in self._feeds:
            exact, found = _fetch(exactly, feeds, names), _fetch(roundly, feeds, wanted)
            after = {name: found[end] for name, end in (*ends.items(), *zip(others, others, strict=True))}
            yield {**constants, **exact}, {**constants, **found}, {**fixed, **after}


@dataclass(frozen=True)
class _Part:
    """Of a rounded network what lies behind a join; its `ends` are where noise is looked at."""

    model: onnx.ModelProto
    operands: tuple[str, ...]
    others: list[str]
    ends: list[str]


def _part_behind(network: onnx.ModelProto, join: Join) -> _Part:
    constants, infos = set(initializers(network)), inferred_infos(network)
    first = onnx.NodeProto.FromString(join.node.SerializeToString())
    first.input[:] = [f"{name}{_SHARED}" if name in join.operands else name for name in join.node.input]
    nodes, within, ends = [first], set(join.node.output), list[str]()
    for node in network.graph.node:
        read = within.intersection(node.input)
        if not read or join.result in node.output:
            continue
        if joins(network, node):
            ends += sorted(name.removesuffix(ROUNDED) for name in read)
            continue
        nodes.append(node)
        if is_mixing(network, node):
            ends += node.output
        else:
            within.update(node.output)
    ends += [output.name for output in network.graph.output if output.name in within]
    made = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in node.input if name} - made - constants
    fed = {f"{name}{_SHARED}" for name in join.operands}
    model, others = copy(network), sorted(read - fed)
    replace_nodes(model, nodes)
    keep_initializers(model, {name for node in nodes for name in node.input})
    del model.graph.input[:]
    del model.graph.value_info[:]
    for name in (*sorted(fed), *others):
        kind = infos[name].type.tensor_type.elem_type if name in infos else onnx.TensorProto.FLOAT
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return _Part(model, join.operands, others, list(dict.fromkeys(ends)))


def _session(model: onnx.ModelProto, outputs: Sequence[str]) -> ort.InferenceSession:
    watched, computed = copy(model), {name for node in model.graph.node for name in node.output}
    del watched.graph.output[:]
    chosen = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(outputs) if name in computed]
    watched.graph.output.extend(chosen)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _fetch(session: ort.InferenceSession, feeds: Tensors, names: Sequence[str]) -> Tensors:
    """Tensors by name, the inputs among them, too."""
    known, made = (
        {entry.name for entry in session.get_inputs()},
        [each.name for each in session.get_outputs()],
    )
    found = session.run(made, {name: values for name, values in feeds.items() if name in known})
    return {**{name: feeds[name] for name in names if name in feeds}, **dict(zip(made, found, strict=True))}


def _sample(exact: Array, before: Array, after: Array) -> _Sample:
    """The same elements of all, drawn alike each time."""
    chosen = np.random.default_rng(0).permutation(exact.size)[:_SAMPLED]
    return _Sample(*(np.reshape(values, -1)[chosen] for values in (exact, before, after)))


def _together(samples: Sequence[_Sample]) -> _Sample:
    parts = zip(*((each.exact, each.before, each.after) for each in samples), strict=True)
    return _Sample(*(np.concatenate(each) for each in parts))
