"""The lowest version of each operator that has what is asked of it, so that older runtimes run the file.

Source: TensorFlow, tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc.
"""

from collections.abc import Callable, Mapping

from edgepress.convert.writer.graph import Operator, Tensor


def version_of(operator: Operator) -> int:
    """The operator's version in the schema's sense."""
    rule = _RULES.get(operator.kind)
    return 1 if rule is None else rule(operator)


def _first(operator: Operator) -> Tensor:
    tensor = operator.inputs[1 if operator.kind == "SPLIT" else 0]
    assert tensor is not None
    return tensor


def _by_type(**versions: int) -> Callable[[Operator], int]:
    """By the type of the first operand that holds data."""
    return lambda operator: versions.get(_first(operator).dtype, 1)


def _layer(operator: Operator) -> tuple[Tensor, Tensor]:
    """What a layer reads, and its kernel."""
    x, kernel = operator.inputs[:2]
    assert x is not None
    assert kernel is not None
    return x, kernel


def _conv(operator: Operator) -> int:
    x, kernel = _layer(operator)
    if x.dtype == "int16":
        return 4
    grouped = x.shape[3] != kernel.shape[3]
    if x.dtype == "int8":
        return 7 if kernel.dtype == "int4" else 6 if grouped else 3
    if kernel.dtype == "int8":
        return 5 if kernel.codes is not None and not kernel.codes.one else 2
    return 6 if grouped else 1


def _depthwise(operator: Operator) -> int:
    x, kernel = _layer(operator)
    if x.dtype == "int16":
        return 5
    if x.dtype == "int8":
        return 7 if kernel.dtype == "int4" else 3
    if kernel.dtype == "int8":
        return 6
    dilated = (
        operator.options.get("dilation_w_factor", 1) != 1 or operator.options.get("dilation_h_factor", 1) != 1
    )
    return 2 if dilated else 1


def _dense(operator: Operator) -> int:
    x, kernel = _layer(operator)
    keep = bool(operator.options.get("keep_num_dims"))
    if x.dtype == "int16":
        return 7
    if x.dtype == "int8":
        return 10 if kernel.dtype == "int4" else 5 if keep else 4
    if kernel.dtype == "int8":
        return 12 if kernel.codes is not None and not kernel.codes.one else 9
    return 5 if keep else 1


def _transpose_conv(operator: Operator) -> int:
    """The first version has no bias."""
    dtype = operator.inputs[2].dtype if operator.inputs[2] is not None else ""
    return 3 if len(operator.inputs) > 3 else {"int8": 2, "int16": 2}.get(dtype, 1)


def _sum_of_two(operator: Operator) -> int:
    x = _first(operator)
    if operator.kind == "MUL" and x.dtype == "int8" and _is_enlarged(operator):
        return 3
    if operator.kind == "MUL":
        return {"int8": 2, "int16": 4, "uint32": 6, "int64": 5}.get(x.dtype, 1)
    return {"int8": 2, "int64": 4, "int16": 3 if operator.kind == "ADD" else 5}.get(x.dtype, 1)


def _is_enlarged(operator: Operator) -> bool:
    """Whether products of codes are multiplied by 1 or more for the result: old kernels cannot do that."""
    scales = [
        1.0 if tensor is None or tensor.codes is None else float(tensor.codes.scale.item())
        for tensor in (*operator.inputs, *operator.outputs)
    ]
    return scales[0] * scales[1] >= scales[2]


def _quantize(operator: Operator) -> int:
    return 1 if _first(operator).dtype == "float32" and operator.outputs[0].dtype == "int8" else 2


def _dequantize(operator: Operator) -> int:
    x = _first(operator)
    if x.codes is not None and not x.codes.one:
        return 5
    return {"int8": 2, "int16": 3, "float16": 3, "int4": 6}.get(x.dtype, 1)


def _strided_slice(operator: Operator) -> int:
    x = _first(operator)
    return {"int8": 2, "bool": 3, "int16": 4}.get(x.dtype, 1)


def _resize(operator: Operator) -> int:
    dtype = _first(operator).dtype
    centred = operator.options.get("half_pixel_centers") or operator.options.get("align_corners")
    return 4 if dtype == "int16" else 3 if centred else {"int8": 2}.get(dtype, 1)


_RULES: Mapping[str, Callable[[Operator], int]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "ADD": _sum_of_two,
    "SUB": _sum_of_two,
    "MUL": _sum_of_two,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "STRIDED_SLICE": _strided_slice,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"), _by_type(int8=2, int16=3)),
    **dict.fromkeys(("SOFTMAX", "LOGISTIC", "TANH", "MEAN", "SUM", "PAD"), _by_type(int8=2, int16=3)),
    **dict.fromkeys(("PADV2", "RELU", "RELU6", "LOG_SOFTMAX"), _by_type(int8=2, int16=3)),
    "LEAKY_RELU": _by_type(int16=2),
    "TRANSPOSE": _by_type(int8=2, bool=3, int16=5),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), _by_type(int8=2, int16=4)),
    "SLICE": _by_type(int8=2, int16=4),
    "GATHER_ND": _by_type(int8=2, int16=3, bool=5),
    **dict.fromkeys(("TOPK_V2",), _by_type(int8=2, uint8=2)),
    "GATHER": _by_type(int8=2, bool=3, int16=4),
    "SPLIT": _by_type(int8=2, int32=3, int16=4),
    "UNPACK": _by_type(int8=2, bool=2, int16=4),
    "PACK": _by_type(int8=2, int16=3),
    "BATCH_MATMUL": _by_type(int8=2, int16=3),
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "GELU": _by_type(int8=2),
    "TILE": _by_type(int8=3),
    "SPACE_TO_DEPTH": _by_type(int8=2),
    "DEPTH_TO_SPACE": _by_type(int8=2),
    "MIRROR_PAD": _by_type(int8=2, int16=3),
    **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN"), _by_type(int8=2, int16=3)),
    "BROADCAST_TO": lambda operator: 3 if _first(operator).dtype in ("int8", "int16") else 2,
    "FILL": lambda operator: {"int8": 3, "int16": 3, "bool": 2}.get(operator.outputs[0].dtype, 1),
    "RANGE": _by_type(int64=2),
    **dict.fromkeys(("EQUAL", "NOT_EQUAL"), _by_type(int8=2, bool=3)),
    **dict.fromkeys(("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"), _by_type(int8=2)),
}
