"""The options of operators, and the types of tensors, by the names and numbers of LiteRT's schema."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgepress.convert.writer.graph import Operator

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
    "uint32": schema.TensorType.UINT32,
    "uint16": schema.TensorType.UINT16,
    "int4": schema.TensorType.INT4,
    "float64": schema.TensorType.FLOAT64,
    "bfloat16": schema.TensorType.BFLOAT16,
}
_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONV_2D": "Conv2DOptions",
    "CONV_3D": "Conv3DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "PADV2": "PadV2Options",
    "SELECT_V2": "SelectV2Options",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    **dict.fromkeys(
        ("REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL", "SUM"), "ReducerOptions"
    ),
}
"""The options of operators whose names do not spell them."""

_FIELDS = {
    "activation": "fusedActivationFunction",
    "in_type": "inDataType",
    "out_type": "outDataType",
    "shape_type": "outType",
}


def options_of(operator: Operator) -> tuple[str, dict[str, Any]]:
    """The schema's name of an operator's options and their fields; '' where it has none."""
    kind = _OPTIONS.get(operator.kind) or _camel(operator.kind) + "Options"
    if not hasattr(schema.BuiltinOptions, kind):
        return "", {}
    return kind, {_field(name): _value(name, value) for name, value in operator.options.items()}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _field(name: str) -> str:
    first, *others = name.split("_")
    return _FIELDS.get(name) or first + "".join(part.capitalize() for part in others)


def _value(name: str, value: Any) -> Any:
    if name == "padding":
        return getattr(schema.Padding, value)
    if name == "activation":
        return getattr(schema.ActivationFunctionType, value)
    if name == "mode":
        return getattr(schema.MirrorPadMode, value)
    return TYPES[value] if name in ("in_type", "out_type", "shape_type", "output_type") else value
