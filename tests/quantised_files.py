"""Quantised networks in the forms that other tools write."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RANDOM = np.random.default_rng(3)
SCALES = np.array([0.011, 0.023, 0.0057, 0.031], np.float32)
"""Of a kernel's four channels."""

Nodes = list[onnx.NodeProto]
node = helper.make_node


def build(
    nodes: Nodes,
    constants: dict[str, Any],
    shape: tuple[int, ...] = (1, 4, 8, 8),
    opset: int = 17,
    **more: Any,
) -> onnx.ModelProto:
    """A model from `x` to `y`; tensors of 4 bits are given as TensorProtos."""
    held = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
    ]
    entry = helper.make_tensor_value_info("x", more.get("kind", TensorProto.FLOAT), shape)
    end = helper.make_tensor_value_info("y", more.get("result", TensorProto.FLOAT), None)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    imports = imports[: 2 if any(each.domain for each in nodes) else 1]
    graph = helper.make_graph(nodes, "graph", [entry], [end], held)
    version = max(8, helper.find_min_ir_version_for(imports[:1]))
    return helper.make_model(graph, opset_imports=imports, ir_version=version)


def codes(dtype: type, *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max + 1, shape).astype(dtype)


def nibbles(name: str, kind: int, *shape: int) -> TensorProto:
    low = -8 if kind == TensorProto.INT4 else 0
    return helper.make_tensor(name, kind, shape, RANDOM.integers(low, low + 16, shape).reshape(-1).tolist())


def pair(source: str, name: str, scale: str = "s", zero: str = "z", **attributes: Any) -> Nodes:
    """QuantizeLinear and DequantizeLinear; the numbers are called `name`."""
    parameters = [each for each in (scale, zero) if each]
    return [
        node("QuantizeLinear", [source, *parameters], [f"{name}q"], f"{name}q", **attributes),
        node("DequantizeLinear", [f"{name}q", *parameters], [name], name, **attributes),
    ]


ACTIVATION = {"s": np.float32(0.037), "z": np.int8(3), "os": np.float32(0.21), "oz": np.int8(-5)}


def layer(
    kernel: Any,
    zeros: Any,
    op: str = "Conv",
    *,
    scales: Any = SCALES,
    axis: int = 0,
    shape: Any = (1, 4, 8, 8),
    opset: int = 17,
    block: int = 0,
    bias: bool = True,
    **attributes: Any,
) -> onnx.ModelProto:
    """One layer of which operands and result are quantised."""
    constants = {**ACTIVATION, "w": kernel, "ws": scales}
    names = ["w", "ws"]
    if zeros is not None:
        constants["wz"], names = zeros, [*names, "wz"]
    given = {"axis": axis, **({"block_size": block} if block else {})}
    operands = ["xd", "wd"]
    if bias and op != "MatMul":
        constants["b"], operands = RANDOM.normal(size=4).astype(np.float32), [*operands, "b"]
    nodes = [
        *pair("x", "xd"),
        node("DequantizeLinear", names, ["wd"], "wd", **given),
        node(op, operands, ["c"], "layer", **attributes),
        *pair("c", "y", "os", "oz"),
    ]
    return build(nodes, constants, shape, opset)


def trained(
    op: str, kernel: np.ndarray, scales: Any, turned: bool = False, **attributes: Any
) -> onnx.ModelProto:
    """A layer of quantisation-aware training: its kernel is in floats, behind QuantizeLinear."""
    constants = {**ACTIVATION, "w": kernel, "ws": scales, "wz": np.zeros(np.shape(scales), np.int8)}
    along = {"axis": 0} if np.ndim(scales) else {}
    nodes = [*pair("x", "xd"), *pair("w", "wd", "ws", "wz", **along)]
    if turned:
        nodes.append(node("Transpose", ["wd"], ["wt"], "turned", perm=[1, 0]))
    nodes.append(node(op, ["xd", "wt" if turned else "wd"], ["c"], "layer", **attributes))
    nodes += pair("c", "y", "os", "oz")
    return build(nodes, constants, (1, 4, 8, 8) if op == "Conv" else (1, 6))


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


Z8, ZU8 = np.array([0, 100, 50, -90], np.int8), np.array([128, 0, 20, 200], np.uint8)
NONE = np.zeros(4, np.int8)


def lowest(*shape: int) -> np.ndarray:
    """Codes of a kernel, of which one for each output is −128."""
    found = np.maximum(codes(np.int8, *shape), -127)
    found[:, 0, 0, 0] = -128
    return found


KERNELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "int8 zero points": lambda: layer(codes(np.int8, 4, 4, 3, 3), Z8),
    "uint8 zero points": lambda: layer(codes(np.uint8, 4, 4, 3, 3), ZU8),
    "one uint8 zero point": lambda: layer(
        codes(np.uint8, 4, 4, 3, 3), np.uint8(131), scales=np.float32(0.01)
    ),
    "uint8 around 128": lambda: layer(  # a code of 0 is -128 there
        np.maximum(codes(np.uint8, 4, 4, 3, 3), 1) * (np.indices((4, 4, 3, 3)).sum(0) > 0),
        np.full(4, 128, np.uint8),
    ),
    "code -128": lambda: layer(lowest(4, 4, 3, 3), NONE),
    "several codes -128": lambda: layer(
        np.where(codes(np.int8, 4, 4, 3, 3) > 60, -128, codes(np.int8, 4, 4, 3, 3)).astype(np.int8), NONE
    ),
    "several codes -128 depthwise": lambda: layer(np.full((4, 1, 3, 3), -128, np.int8), NONE, group=4),
    "no zero point": lambda: layer(np.maximum(codes(np.int8, 4, 4, 3, 3), -127), None),
    "no uint8 zero point": lambda: layer(codes(np.uint8, 4, 4, 3, 3), None),
    "recoded": lambda: layer(codes(np.int8, 4, 4, 3, 3) // 4, np.array([0, 9, -9, 4], np.int8)),
    "negative axis": lambda: layer(codes(np.int8, 4, 4, 3, 3), Z8, axis=-4),
    "axis of the inputs": lambda: layer(codes(np.int8, 4, 4, 3, 3) // 2, NONE, axis=1),
    "depthwise": lambda: layer(codes(np.int8, 4, 1, 3, 3), Z8, group=4),
    "depthwise recoded": lambda: layer(
        codes(np.uint8, 4, 1, 3, 3) // 4, np.array([1, 9, 40, 4], np.uint8), group=4
    ),
    "groups": lambda: layer(codes(np.int8, 4, 2, 3, 3), Z8, group=2, pads=[1, 1, 1, 1]),
    "strides": lambda: layer(codes(np.int8, 4, 4, 3, 3), Z8, strides=[2, 2], pads=[1, 1, 0, 1]),
    "transposed": lambda: layer(codes(np.int8, 4, 4, 2, 2), Z8, "ConvTranspose", axis=1, strides=[2, 2]),
    "transposed recoded": lambda: layer(
        codes(np.int8, 4, 4, 2, 2) // 4, Z8 // 8, "ConvTranspose", axis=1, strides=[2, 2]
    ),
    "transposed in groups": lambda: layer(
        codes(np.int8, 4, 2, 2, 2),
        np.int8(0),
        "ConvTranspose",
        scales=np.float32(0.02),
        strides=[2, 2],
        group=2,
    ),
    "matrix": lambda: layer(codes(np.int8, 6, 4), Z8, "MatMul", axis=1, shape=(1, 6)),
    "matrix by rows": lambda: layer(codes(np.int8, 4, 4), NONE, "MatMul", axis=0, shape=(1, 4)),
    "gemm": lambda: layer(codes(np.uint8, 6, 4), ZU8, "Gemm", axis=1, shape=(1, 6)),
    "gemm turned": lambda: layer(codes(np.int8, 4, 6), NONE, "Gemm", shape=(1, 6), transB=1),
    "int4": lambda: layer(nibbles("w", TensorProto.INT4, 4, 4, 3, 3), None, scales=SCALES * 16, opset=21),
    "uint4": lambda: layer(
        nibbles("w", TensorProto.UINT4, 4, 4, 3, 3),
        nibbles("wz", TensorProto.UINT4, 4),
        scales=SCALES * 16,
        opset=21,
    ),
    "int4 in blocks": lambda: layer(
        nibbles("w", TensorProto.INT4, 8, 4),
        None,
        "MatMul",
        scales=RANDOM.uniform(0.1, 0.3, (2, 4)).astype(np.float32),
        block=4,
        opset=21,
        shape=(1, 8),
    ),
    "int8 in blocks": lambda: layer(
        codes(np.int8, 8, 4),
        codes(np.int8, 2, 4),
        "MatMul",
        scales=RANDOM.uniform(0.01, 0.03, (2, 4)).astype(np.float32),
        block=4,
        opset=21,
        shape=(1, 8),
    ),
    "int16": lambda: layer(codes(np.int16, 4, 4, 3, 3), None, scales=SCALES / 256, opset=21),
    "trained, a scale each": lambda: trained("Conv", 0.3 * floats(4, 4, 3, 3), SCALES),
    "trained, one scale": lambda: trained("Conv", 0.3 * floats(4, 4, 3, 3), np.float32(0.0071)),
    "trained and turned": lambda: trained("MatMul", 0.3 * floats(4, 6), SCALES, turned=True),
    "trained gemm": lambda: trained("Gemm", 0.3 * floats(4, 6), SCALES, transB=1),
}
"""Kernels: the result is within one code of ONNX Runtime's."""


def around(
    *middle: onnx.NodeProto,
    constants: dict[str, Any] | None = None,
    shape: Any = (1, 4, 8, 8),
    opset: int = 17,
    **more: Any,
) -> onnx.ModelProto:
    """Nodes from `xd` to `c` between quantised ends."""
    return build(
        [*pair("x", "xd"), *middle, *pair("c", "y", "os", "oz")],
        {**ACTIVATION, **(constants or {})},
        shape,
        opset,
        **more,
    )


def wide(dtype: type, domain: str = "", opset: int = 21) -> onnx.ModelProto:
    """Activations of 16 bits around a layer of 8."""
    zero = dtype(0 if dtype is np.int16 else 30000)
    constants = {
        "s": np.float32(0.00021),
        "z": zero,
        "os": np.float32(0.0011),
        "oz": zero,
        "ws": SCALES,
        "wz": NONE,
    }
    nodes = [
        *pair("x", "xd"),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=0),
        node("Conv", ["xd", "wd"], ["c"], "layer"),
        *pair("c", "y", "os", "oz"),
    ]
    for each in nodes:
        each.domain = domain if "Quantize" in each.op_type or "Dequantize" in each.op_type else ""
    return build(nodes, {**constants, "w": np.maximum(codes(np.int8, 4, 4, 3, 3), -127)}, opset=opset)


def qlinear(
    op: str,
    operands: list[str],
    constants: dict[str, Any],
    domain: str = "com.microsoft",
    shape: Any = (1, 4, 8, 8),
    **attributes: Any,
) -> onnx.ModelProto:
    """One operator on codes `q`, between QuantizeLinear and DequantizeLinear."""
    known = {"s": np.float32(0.037), "z": np.uint8(120), "os": np.float32(0.11), "oz": np.uint8(110)}
    return build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node(op, operands, ["c"], "it", domain=domain, **attributes),
            node("DequantizeLinear", ["c", "os", "oz"], ["y"], "y"),
        ],
        {**known, **constants},
        shape,
    )


OF_Q, TO_C = ["q", "s", "z"], ["os", "oz"]
W = {"ws": SCALES, "wz": NONE}


def channels_last(op: str, operands: list[str], constants: dict[str, Any], **given: Any) -> onnx.ModelProto:
    """An operator of ONNX Runtime's own on codes (N, H, W, C)."""
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node("Transpose", ["q"], ["t"], "t", perm=[0, 2, 3, 1]),
        node(op, operands, ["c"], "it", domain="com.microsoft", channels_last=1, **given),
        node("Transpose", ["c"], ["u"], "u", perm=[0, 3, 1, 2]),
        node("DequantizeLinear", ["u", "os", "oz"], ["y"], "y"),
    ]
    known = {"s": np.float32(0.037), "z": np.uint8(120), "os": np.float32(0.11), "oz": np.uint8(110)}
    return build(nodes, {**known, **constants})


def four_bits(held: type) -> onnx.ModelProto:
    """Kernel and activations of 4 bits, in an opset in which ONNX itself has no such."""
    kind = TensorProto.INT4 if held is np.int8 else TensorProto.UINT4
    low = -8 if held is np.int8 else 0
    zero = helper.make_tensor("z", kind, (), [low + 7])
    zeros = helper.make_tensor("wz", kind, (), [0 if held is np.int8 else 8])
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"], "xq", domain="com.microsoft"),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "xd", domain="com.microsoft"),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", domain="com.microsoft"),
        node("Conv", ["xd", "wd"], ["c"], "it"),
        *pair("c", "y", "os", "oz"),
    ]
    constants = {"s": np.float32(0.3), "z": zero, "ws": np.float32(0.04), "wz": zeros}
    known = {"w": nibbles("w", kind, 5, 4, 3, 3), "os": np.float32(0.06), "oz": np.int8(3)}
    return build(nodes, constants | known)


GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "int16 activations": lambda: wide(np.int16),
    "uint16 activations": lambda: wide(np.uint16),
    "16 bits of the other domain": lambda: wide(np.int16, "com.microsoft", 17),
    "other parameters behind": lambda: build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node("DequantizeLinear", ["q", "os", "oz"], ["y"], "y"),
        ],
        ACTIVATION,
    ),
    "a pool of codes": lambda: build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node("MaxPool", ["q"], ["p"], "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("DequantizeLinear", ["p", "s", "z"], ["y"], "y"),
        ],
        ACTIVATION,
    ),
    "a pool": lambda: around(node("MaxPool", ["xd"], ["c"], "p", kernel_shape=[2, 2], strides=[2, 2])),
    "a mean": lambda: around(node("AveragePool", ["xd"], ["c"], "p", kernel_shape=[2, 2], strides=[2, 2])),
    "joined": lambda: around(
        node("Relu", ["xd"], ["r"], "r"), node("Concat", ["xd", "r"], ["c"], "j", axis=1)
    ),
    "without zero points": lambda: build(
        [*pair("x", "xd", "s", ""), node("Relu", ["xd"], ["c"], "r"), *pair("c", "y", "s", "")],
        {"s": np.float32(0.02)},
    ),
    "an int32 bias": lambda: build(
        [
            *pair("x", "xd"),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=0),
            node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], "bd", axis=0),
            node("Conv", ["xd", "wd", "bd"], ["c"], "layer"),
            *pair("c", "y", "os", "oz"),
        ],
        {
            **ACTIVATION,
            **W,
            "w": np.maximum(codes(np.int8, 4, 4, 3, 3), -127),
            "b": RANDOM.integers(-3000, 3000, 4).astype(np.int32),
            "bs": SCALES * np.float32(0.037),
            "bz": np.zeros(4, np.int32),
        },
    ),
    "a float layer between": lambda: build(
        [
            node("Conv", ["x", "w"], ["c"], "first"),
            *pair("c", "cd", "os", "oz"),
            node("Conv", ["cd", "w"], ["y"], "second"),
        ],
        {**ACTIVATION, "w": 0.3 * floats(4, 4, 3, 3)},
    ),
    "quantised in the middle": lambda: build(
        [
            node("Conv", ["x", "v"], ["a"], "first"),
            *pair("a", "xd", "os", "oz"),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=0),
            node("Conv", ["xd", "wd"], ["c"], "layer"),
            node("Sigmoid", ["c"], ["y"], "end"),
        ],
        {
            **ACTIVATION,
            **W,
            "v": 0.3 * floats(4, 4, 3, 3),
            "w": np.maximum(codes(np.int8, 4, 4, 3, 3) // 8, -127),
        },
    ),
    "kernels alone": lambda: build(
        [
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=0),
            node("Conv", ["x", "wd"], ["y"], "layer"),
        ],
        {"w": codes(np.int8, 4, 4, 3, 3), "ws": SCALES, "wz": Z8},
    ),
    "half scales": lambda: build(
        [
            node("Cast", ["x"], ["xh"], "half", to=TensorProto.FLOAT16),
            *pair("xh", "xd"),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=0),
            node("Conv", ["xd", "wd"], ["c"], "layer"),
            *pair("c", "e", "os", "oz"),
            node("Cast", ["e"], ["y"], "single", to=TensorProto.FLOAT),
        ],
        {
            "s": np.float16(0.037),
            "z": np.int8(3),
            "os": np.float16(0.21),
            "oz": np.int8(-5),
            "w": np.maximum(codes(np.int8, 4, 4, 3, 3), -127),
            "ws": SCALES.astype(np.float16),
            "wz": NONE,
        },
        opset=19,
    ),
    "an added constant": lambda: around(
        node("DequantizeLinear", ["a", "as", "az"], ["ad"], "ad"),
        node("Add", ["xd", "ad"], ["c"], "add"),
        constants={"a": codes(np.uint8, 4, 1, 1), "as": np.float32(0.013), "az": np.uint8(77)},
    ),
    "QLinearConv": lambda: qlinear(
        "QLinearConv",
        [*OF_Q, "w", "ws", "wz", *TO_C, "b"],
        {
            **W,
            "w": np.maximum(codes(np.int8, 4, 4, 3, 3), -127),
            "b": RANDOM.integers(-3000, 3000, 4).astype(np.int32),
        },
        "",
        pads=[1, 1, 1, 1],
    ),
    "QLinearConv uint8": lambda: qlinear(
        "QLinearConv",
        [*OF_Q, "w", "ws", "wz", *TO_C],
        {"ws": np.float32(0.02), "wz": np.uint8(131), "w": codes(np.uint8, 4, 4, 3, 3)},
        "",
        strides=[2, 2],
    ),
    "QLinearMatMul": lambda: qlinear(
        "QLinearMatMul",
        [*OF_Q, "w", "ws", "wz", *TO_C],
        {"ws": np.float32(0.02), "wz": np.uint8(131), "w": codes(np.uint8, 6, 4)},
        "",
        (1, 6),
    ),
    "QGemm": lambda: qlinear(
        "QGemm",
        [*OF_Q, "w", "ws", "wz", "b", *TO_C],
        {
            **W,
            "w": np.maximum(codes(np.int8, 4, 6), -127),
            "b": RANDOM.integers(-3000, 3000, 4).astype(np.int32),
        },
        shape=(1, 6),
        transB=1,
        alpha=1.0,
    ),
    "QLinearAdd": lambda: qlinear(
        "QLinearAdd",
        [*OF_Q, "w", "ws", "wz", *TO_C],
        {"ws": np.float32(0.02), "wz": np.uint8(131), "w": codes(np.uint8, 4, 1, 1)},
    ),
    "QLinearMul": lambda: qlinear("QLinearMul", [*OF_Q, *OF_Q, *TO_C], {}),
    "QLinearSigmoid": lambda: qlinear(
        "QLinearSigmoid", [*OF_Q, *TO_C], {"os": np.float32(1 / 256), "oz": np.uint8(0)}
    ),
    "QLinearLeakyRelu": lambda: qlinear("QLinearLeakyRelu", [*OF_Q, *TO_C], {}, alpha=0.25),
    "QLinearAveragePool": lambda: qlinear(
        "QLinearAveragePool", [*OF_Q, *TO_C], {"os": np.float32(0.03)}, kernel_shape=[2, 2]
    ),
    "QLinearGlobalAveragePool": lambda: qlinear(
        "QLinearGlobalAveragePool", [*OF_Q, *TO_C], {"os": np.float32(0.01)}
    ),
    "QLinearConcat": lambda: qlinear(
        "QLinearConcat", [*TO_C, *OF_Q, *OF_Q], {"os": np.float32(0.041)}, axis=1
    ),
    "QLinearSoftmax": lambda: qlinear(
        "QLinearSoftmax",
        [*OF_Q, *TO_C],
        {"os": np.float32(1 / 256), "oz": np.uint8(0)},
        shape=(1, 9),
        axis=-1,
        opset=13,
    ),
    "a chain of codes": lambda: build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node("QLinearConv", [*OF_Q, "w", "ws", "wz", *TO_C], ["c"], "conv", pads=[1, 1, 1, 1]),
            node("MaxPool", ["c"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            node("QLinearAdd", ["p", *TO_C, "p", *TO_C, "as", "az"], ["a"], "add", domain="com.microsoft"),
            node("Reshape", ["a", "to"], ["f"], "flat"),
            node(
                "QGemm",
                ["f", "as", "az", "v", "vs", "vz", "", "gs", "gz"],
                ["g"],
                "dense",
                domain="com.microsoft",
                transB=1,
            ),
            node("DequantizeLinear", ["g", "gs", "gz"], ["y"], "y"),
        ],
        {
            "s": np.float32(0.037),
            "z": np.uint8(120),
            "os": np.float32(0.11),
            "oz": np.uint8(110),
            "as": np.float32(0.17),
            "az": np.uint8(100),
            "gs": np.float32(1.7),
            "gz": np.uint8(128),
            **W,
            "w": np.maximum(codes(np.int8, 4, 4, 3, 3), -127),
            "to": np.array([1, 64]),
            "v": np.maximum(codes(np.int8, 5, 64), -127),
            "vs": np.float32(0.02),
            "vz": np.int8(0),
        },
    ),
    "ConvInteger": lambda: build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node("ConvInteger", ["q", "w", "z", "wz"], ["i"], "it"),
            node("Cast", ["i"], ["f"], "f", to=TensorProto.FLOAT),
            node("Mul", ["f", "factor"], ["y"], "y"),
        ],
        {
            "s": np.float32(0.037),
            "z": np.uint8(120),
            "w": codes(np.uint8, 4, 4, 3, 3),
            "wz": np.uint8(131),
            "factor": np.float32(0.037 * 0.02),
        },
    ),
    "MatMulInteger": lambda: build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node("MatMulInteger", ["q", "w", "z"], ["i"], "it"),
            node("Cast", ["i"], ["f"], "f", to=TensorProto.FLOAT),
            node("Mul", ["f", "factor"], ["y"], "y"),
        ],
        {
            "s": np.float32(0.037),
            "z": np.uint8(120),
            "w": codes(np.int8, 6, 4),
            "factor": np.float32(0.037 * 0.02),
        },
        (1, 6),
    ),
}


def clipping(
    *middle: onnx.NodeProto,
    constants: dict[str, Any] | None = None,
    source: str = "layer",
    scale: float = 0.011,
) -> onnx.ModelProto:
    """Nodes from `xd`, codes that clip what a layer (or the input) gives, to `c`, which gets other codes."""
    known = {
        "ns": np.float32(scale),
        "nz": np.int8(-30),
        "w": np.maximum(codes(np.int8, 4, 4, 3, 3), -127),
        **W,
    }
    before = pair("x", "xd")
    if source == "layer":
        dequantised = node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=0)
        before = [
            *pair("x", "x0"),
            dequantised,
            node("Conv", ["x0", "wd"], ["a"], "layer", pads=[1] * 4),
            *pair("a", "xd"),
        ]
    return build(
        [*before, *middle, *pair("c", "y", "ns", "nz")], {**ACTIVATION, **known, **(constants or {})}
    )


_TO = {"to": np.array([1, 2, 128])}
GRAPHS |= {
    "other codes at once": lambda: clipping(node("Identity", ["xd"], ["c"], "i")),
    "other codes behind a reshape": lambda: clipping(
        node("Reshape", ["xd", "to"], ["c"], "r"), constants=_TO
    ),
    "other codes of a reshaped input": lambda: clipping(
        node("Reshape", ["xd", "to"], ["c"], "r"), constants=_TO, source="input"
    ),
    "other codes behind a transpose": lambda: clipping(
        node("Transpose", ["xd"], ["t"], "t", perm=[0, 2, 3, 1]),
        node("Transpose", ["t"], ["c"], "b", perm=[0, 3, 2, 1]),
    ),
    "wider codes behind a Relu": lambda: clipping(node("Relu", ["xd"], ["c"], "r"), scale=0.1),
    "other codes behind a factor of 1": lambda: clipping(
        node("Mul", ["xd", "one"], ["c"], "m"), constants={"one": np.float32(1)}
    ),
    "joined under other codes": lambda: clipping(node("Concat", ["xd", "x0"], ["c"], "j", axis=1), scale=0.1),
    "the larger under other codes": lambda: clipping(node("Max", ["xd", "x0"], ["c"], "j"), scale=0.1),
    "a kernel that two layers share": lambda: clipping(
        node("Conv", ["xd", "wd"], ["c"], "again"),
        constants={"w": codes(np.int8, 4, 4, 3, 3) // 2},
        scale=0.4,
    ),
    "a BatchNormalization behind a layer": lambda: around(
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=0),
        node("Conv", ["xd", "wd"], ["a"], "layer"),
        node("BatchNormalization", ["a", "gamma", "ones", "none", "ones"], ["c"], "norm"),
        constants={
            **W,
            "w": np.maximum(codes(np.int8, 4, 4, 3, 3), -127),
            "gamma": np.array([1, -0.4, 2, 0.7], np.float32),
            "ones": np.ones(4, np.float32),
            "none": np.zeros(4, np.float32),
        },
    ),
    "Gemm with factors": lambda: around(
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", axis=1),
        node("Gemm", ["xd", "wd", "b"], ["c"], "layer", alpha=-0.5, beta=2.0),
        constants={**W, "w": np.maximum(codes(np.int8, 36, 4), -127), "b": np.array([1.5], np.float32)},
        shape=(1, 36),
    ),
    "a divisor of any code": lambda: around(
        node("DequantizeLinear", ["k", "ks"], ["kd"], "kd"),
        node("Div", ["xd", "kd"], ["c"], "d"),
        constants={"k": np.uint8(70), "ks": np.float32(0.02)},
    ),
    "a divisor for each element": lambda: around(
        node("DequantizeLinear", ["k", "ks", "kz"], ["kd"], "kd"),
        node("Div", ["xd", "kd"], ["c"], "d"),
        constants={"k": codes(np.uint8, 1, 4, 8, 8) // 2 + 80, "ks": np.float32(0.02), "kz": np.uint8(30)},
    ),
}


GRAPHS |= {
    "QLinearWhere": lambda: qlinear(
        "QLinearWhere",
        ["where", *OF_Q, "w", "ws", "wz", *TO_C],
        {
            "where": np.indices((4, 8, 8)).sum(0) % 3 == 0,
            "ws": np.float32(0.02),
            "wz": np.uint8(131),
            "w": codes(np.uint8, 4, 8, 8),
        },
    ),
    "QLinearConv of channels last": lambda: channels_last(
        "QLinearConv",
        ["t", "s", "z", "w", "ws", "wz", *TO_C],
        {"ws": np.float32(0.02), "wz": np.uint8(131), "w": codes(np.uint8, 5, 4, 3, 3)},
        kernel_shape=[3, 3],
    ),
    "QLinearAveragePool of channels last": lambda: channels_last(
        "QLinearAveragePool", ["t", "s", "z", *TO_C], {"os": np.float32(0.037)}, kernel_shape=[3, 3]
    ),
    "QLinearGlobalAveragePool of channels last": lambda: channels_last(
        "QLinearGlobalAveragePool", ["t", "s", "z", *TO_C], {"os": np.float32(0.01)}
    ),
    "MatMulIntegerToFloat": lambda: build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node(
                "MatMulIntegerToFloat",
                ["q", "w", "s", "ws", "z", "wz", "b"],
                ["m"],
                "it",
                domain="com.microsoft",
            ),
            node("Identity", ["m"], ["y"], "y"),
        ],
        {
            "s": np.float32(0.037),
            "z": np.uint8(120),
            "w": np.maximum(codes(np.int8, 6, 4), -127),
            "ws": SCALES,
            "wz": np.zeros(4, np.int8),
            "b": floats(4),
        },
        (1, 6),
    ),
    "4 bits of the other domain": lambda: four_bits(np.int8),
    "unsigned 4 bits of the other domain": lambda: four_bits(np.uint8),
}


def dynamic(op: str, kernel: np.ndarray, shape: tuple[int, ...], form: str = "") -> onnx.ModelProto:
    """A product of codes that are made as the network runs; the scales follow in one product or in `two`."""
    operands = ["q", "w", "zp"] if form == "without a zero point" else ["q", "w", "zp", "wz"]
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "sc", "zp"], "made"),
        node(op, operands, ["i"], "it"),
        node("Cast", ["i"], ["f"], "f", to=TensorProto.FLOAT),
    ]
    if form == "two products":
        nodes += [node("Mul", ["f", "sc"], ["m"], "m"), node("Mul", ["m", "ws"], ["y"], "y")]
    elif form == "another scale":
        nodes.append(node("Mul", ["f", "ws"], ["y"], "y"))
    else:
        nodes += [node("Mul", ["sc", "ws"], ["m"], "m"), node("Mul", ["f", "m"], ["y"], "y")]
    zero = kernel.dtype.type(7 if kernel.dtype == np.uint8 else 0)
    return build(nodes, {"w": kernel, "wz": zero, "ws": np.float32(0.02)}, shape)
