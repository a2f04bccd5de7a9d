"""Why some of the standard's node tests cannot be expressed in TFLite, whatever a converter does."""

from typing import Any

import numpy as np
import onnx

SMALL_FLOATS = ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "FLOAT4E2M1")
SMALL_INTEGERS = ("INT4", "UINT4", "INT2", "UINT2")

TEXT = "text: TFLite has no operators for it but those of search engines"
NO_TENSOR = "sequences, optional values and maps are no tensors, and TFLite has nothing else"
FLOATS_OF_8_BITS = "floats of 8 and 4 bits are no types of TFLite's tensors"
FEW_BITS = "LiteRT takes and gives no integers of 2 and 4 bits, which it has for constants alone"
UINT64 = "LiteRT's kernels for sums, products, quotients, comparisons, casts and places all refuse uint64"
TRAINING = "training: an optimizer's update, statistics of a batch, a mask that is drawn"
RANDOM = "random results: each runtime draws its own"
NO_INPUT = "nothing is computed of any input, so there is no network"
IMAGES = "decodes a compressed image, which no kernel does"

DISAGREED = {
    "test_maxunpool_export_with_output_shape": "the case counts places in the image that its windows make, "
    "ONNX Runtime and MaxPool in the larger one that output_shape asks for, and so does the file",
}
"""Cases of which the file computes what ONNX Runtime does, which is not what they expect."""

_TRAINING_DOMAIN = "ai.onnx.preview.training"
_RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


def inexpressible(test: Any) -> str | None:
    """Why TFLite cannot express a case of `onnx.backend.test`; None if it can."""
    nodes = list(_nodes(test.model.graph))
    ends = [*test.model.graph.input, *test.model.graph.output]
    kinds = {end.type.WhichOneof("value") for end in ends}
    kinds |= {"sequence_type" for node in nodes if "Sequence" in node.op_type or "Optional" in node.op_type}
    types = {_type(end) for end in ends} | {_to(node) for node in nodes}
    ops = {node.op_type for node in nodes}
    if not test.model.graph.input:
        return NO_INPUT
    if "ImageDecoder" in ops:
        return IMAGES
    if "STRING" in types:
        return TEXT
    if kinds != {"tensor_type"}:
        return NO_TENSOR
    if types & set(SMALL_FLOATS):
        return FLOATS_OF_8_BITS
    if types & set(SMALL_INTEGERS):
        return FEW_BITS
    if "UINT64" in types:
        return UINT64
    if any(node.domain == _TRAINING_DOMAIN for node in nodes) or _trains(test, nodes):
        return TRAINING
    return RANDOM if ops & set(_RANDOM) else None


def _nodes(graph: onnx.GraphProto) -> Any:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _type(end: onnx.ValueInfoProto) -> str:
    return str(onnx.TensorProto.DataType.Name(end.type.tensor_type.elem_type))


def _to(node: onnx.NodeProto) -> str:
    """The type that a node casts to."""
    kinds = [attribute.i for attribute in node.attribute if attribute.name == "to"]
    return str(onnx.TensorProto.DataType.Name(kinds[0])) if kinds else ""


def _trains(test: Any, nodes: list[onnx.NodeProto]) -> bool:
    if any(a.name == "training_mode" and a.i for node in nodes for a in node.attribute):
        return True
    if not any(node.op_type == "Dropout" for node in nodes):
        return False
    given = dict(zip((i.name for i in test.model.graph.input), test.data_sets[0][0], strict=True))
    modes = [given.get(node.input[2]) for node in nodes if node.op_type == "Dropout" and len(node.input) > 2]
    return any(mode is not None and bool(np.asarray(mode)) for mode in modes)
