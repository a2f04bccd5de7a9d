"""The way in for a model from anywhere."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import onnx

from edgepress.graph.normalise.batch import (
    check_inputs,
    check_maps,
    free_batch,
    name_open_sizes,
    settle_outputs,
)
from edgepress.graph.normalise.branches import fold_and_settle
from edgepress.graph.normalise.expanding import (
    expand_computed_batchnorms,
    expand_computed_clips,
    expand_given_codes,
    expand_group_norms,
    tell_unpooled_sizes,
    write_casts,
    write_default_axes,
)
from edgepress.graph.normalise.files import read_onnx
from edgepress.graph.normalise.fixing import Fixing, cut_outputs, fix_sizes, require_batch
from edgepress.graph.normalise.microsoft_operators import told_shapes, write_out_fused
from edgepress.graph.normalise.names import name_each_node_once
from edgepress.graph.normalise.native import check, inferred, to_target_opset
from edgepress.graph.normalise.old_scans import FIRST_SCAN_OPSET, write_out_scans
from edgepress.graph.normalise.pools import count_windows
from edgepress.graph.normalise.qoperators import write_as_pairs
from edgepress.graph.normalise.scales import round_as_runtimes
from edgepress.graph.normalise.sequences import holds_sequences, write_out_sequences
from edgepress.graph.normalise.single import compute_in_single
from edgepress.graph.normalise.structure import opset, tidy_structure
from edgepress.graph.normalise.upgrading import FIRST_SAMPLING_OPSET, sample_as_before, write_anew
from edgepress.graph.normalise.within import do_within
from edgepress.graph.shapes import set_sizes
from edgepress.graph.strangers import keep_declared
from edgepress.graph.view import copy


def load_normalised(path: Path) -> onnx.ModelProto:
    """Read a file from anywhere and normalise it.

    Raises:
        ArtifactError: the file is absent, truncated or not ONNX.
        UnsupportedModelError: as `normalise`, or its external data is not in the file's folder.
    """
    return normalise(read_onnx(path))


def normalise(
    model: onnx.ModelProto, fixing: Fixing | None = None, keep_types: bool = False
) -> onnx.ModelProto:
    """The model as the passes here expect it; `model` itself is tidied, and its sizes fixed, too.

    Args:
        model: of any producer; changed in place.
        fixing: what is settled of it.
        keep_types: whether inputs and outputs of float16 and the like stay of that type.

    Ensures: opset 15 (or the model's own, if newer and it cannot be lowered); inputs, each of them read, of
    numbers or truth values, whose open sizes have names; the batch is called `BATCH`, or is fixed where the
    network has it built in; no functions of its own; floats of other lengths are computed in float32; shapes
    inferred, constants folded into initializers, all of them used and none an input; nodes sorted, each with
    a name of its own.

    Raises:
        UnsupportedModelError: it is broken, hostile, or beyond what this project takes; in one line.
    """
    chosen = fixing or Fixing()
    told = told_shapes(model)
    tidy_structure(model)
    write_out_fused(model, told)
    cut_outputs(model, chosen.outputs)
    check_maps(model)
    write_as_pairs(model)
    name_open_sizes(model)
    fix_sizes(model, chosen)
    check_inputs(model)
    model.ir_version = max(model.ir_version, 8)
    check(model)
    fresh = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    fresh.opset_import.extend(model.opset_import)
    fresh.graph.CopyFrom(model.graph)
    fresh.graph.ClearField("doc_string")
    compute_in_single(fresh, keep_types)
    write_default_axes(fresh)
    expand_given_codes(fresh)
    given = opset(fresh)
    _write_anew(fresh, given)
    do_within(fresh, partial(_write_anew, given=given))
    to_target_opset(fresh)
    fold_and_settle(fresh)
    write_out_sequences(fresh)
    if holds_sequences(fresh):
        fold_and_settle(fresh)
        write_out_sequences(fresh)
    _write_as_meant(fresh, given)
    do_within(fresh, partial(_write_as_meant, given=given))
    free_batch(fresh, chosen.keep_several)
    require_batch(fresh, chosen.batch)
    fold_and_settle(fresh)
    expand_computed_batchnorms(fresh)
    name_each_node_once(fresh)
    note_shapes(fresh)
    return fresh


def _write_anew(model: onnx.ModelProto, given: int) -> None:
    """What onnx's converter would lose, in the opset that the model came in."""
    if given < FIRST_SCAN_OPSET:
        write_out_scans(model)
    write_casts(model)
    expand_group_norms(model)
    tell_unpooled_sizes(model)
    write_anew(model, given)


def _write_as_meant(model: onnx.ModelProto, given: int) -> None:
    """What the opset that the model came in meant by operators that mean something else now."""
    if given < FIRST_SAMPLING_OPSET:
        sample_as_before(model)
    count_windows(model)
    expand_computed_clips(model)


def note_shapes(model: onnx.ModelProto) -> None:
    """Infer all shapes and write them down, in place."""
    round_as_runtimes(model)
    ends = {entry.name for entry in (*model.graph.input, *model.graph.output)}
    shapes = inferred(model, strict=True)
    settle_outputs(model, shapes)
    del model.graph.value_info[:]
    model.graph.value_info.extend(info for name, info in shapes.items() if name not in ends)


def with_sizes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """A copy of a normalised model with these of its open sizes, by name, fixed, and folded again.

    Raises:
        UnsupportedModelError: the network cannot have them.
    """
    fixed = copy(model)
    keep_declared(fixed)
    set_sizes(fixed, sizes)
    fold_and_settle(fixed)
    note_shapes(fixed)
    return fixed
