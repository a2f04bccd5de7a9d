"""The way in for a model from anywhere."""

from pathlib import Path

import onnx

from edgepress.graph.normalise.batch import free_batch
from edgepress.graph.normalise.expanding import expand_computed_clips, expand_group_norms
from edgepress.graph.normalise.files import read_onnx
from edgepress.graph.normalise.folding import fold_constants
from edgepress.graph.normalise.names import name_each_node_once
from edgepress.graph.normalise.native import check, inferred, to_target_opset
from edgepress.graph.normalise.pools import count_windows
from edgepress.graph.normalise.qoperators import write_as_pairs
from edgepress.graph.normalise.single import compute_in_single
from edgepress.graph.normalise.structure import check_shape, opset, tidy_structure
from edgepress.graph.normalise.upgrading import FIRST_SAMPLING_OPSET, sample_as_before, write_anew


def load_normalised(path: Path) -> onnx.ModelProto:
    """Read a file from anywhere and normalise it.

    Raises:
        ArtifactError: the file is absent, truncated or not ONNX.
        UnsupportedModelError: as `normalise`, or its external data is not in the file's folder.
    """
    return normalise(read_onnx(path))


def normalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as the passes here expect it; `model` itself is tidied too.

    Ensures: opset 15 (or the model's own, if newer and it cannot be lowered), one float32 input of fixed size
    but for a symbolic batch (or a batch of 1, where the network has that built in), shapes inferred,
    constants folded into initializers, all of them used and none an input, nodes sorted, each with
    a name of its own.

    Raises:
        UnsupportedModelError: it is broken, hostile, or beyond what this project takes; in one line.
    """
    tidy_structure(model)
    write_as_pairs(model)
    check_shape(model.graph.input[0])
    model.ir_version = max(model.ir_version, 8)
    check(model)
    fresh = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    fresh.opset_import.extend(model.opset_import)
    fresh.graph.CopyFrom(model.graph)
    fresh.graph.ClearField("doc_string")
    expand_group_norms(fresh)
    compute_in_single(fresh)
    given = opset(fresh)
    write_anew(fresh, given)
    to_target_opset(fresh)
    fold_constants(fresh)
    if given < FIRST_SAMPLING_OPSET:
        sample_as_before(fresh)
    count_windows(fresh)
    expand_computed_clips(fresh)
    if free_batch(fresh):
        fold_constants(fresh)
    else:
        fold_constants(fresh, (1, 1))
    name_each_node_once(fresh)
    ends = {entry.name for entry in (*fresh.graph.input, *fresh.graph.output)}
    shapes = inferred(fresh, strict=True)
    fresh.graph.value_info.extend(info for name, info in shapes.items() if name not in ends)
    return fresh
