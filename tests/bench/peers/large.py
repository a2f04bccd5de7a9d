"""A network of 300 MB whose weights lie beside its file: VGG-16's layers with a smaller head."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 224
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_HIDDEN = 2360


def write_large(target: Path) -> int:
    """Write the model, its weights as external data, and tell the bytes of both."""
    random = np.random.default_rng(0)
    nodes, constants = list[onnx.NodeProto](), list[onnx.TensorProto]()

    def layer(op: str, source: str, shape: tuple[int, ...], **attributes: object) -> str:
        name, fan_in = f"{op.lower()}{len(nodes)}", int(np.prod(shape[1:]))
        weights = random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
        constants.append(numpy_helper.from_array(weights, f"{name}.weight"))
        constants.append(numpy_helper.from_array(np.full(shape[0], 0.01, np.float32), f"{name}.bias"))
        nodes.append(helper.make_node(op, [source, f"{name}.weight", f"{name}.bias"], [name], **attributes))
        return name

    def apply(op: str, source: str, **attributes: object) -> str:
        name = f"{op.lower()}{len(nodes)}"
        nodes.append(helper.make_node(op, [source], [name], **attributes))
        return name

    last, channels = "input", 3
    for width, count in _BLOCKS:
        for _ in range(count):
            last, channels = apply("Relu", layer("Conv", last, (width, channels, 3, 3), pads=[1] * 4)), width
        last = apply("MaxPool", last, kernel_shape=[2, 2], strides=[2, 2])
    features = channels * (SIZE // 2 ** len(_BLOCKS)) ** 2
    hidden = apply("Relu", layer("Gemm", apply("Flatten", last), (_HIDDEN, features), transB=1))
    last = layer("Gemm", hidden, (1000, _HIDDEN), transB=1)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in (("input", (3, SIZE, SIZE)), (last, (1000,)))
    ]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, target, save_as_external_data=True, location=f"{target.name}.data")
    return sum(file.stat().st_size for file in (target, target.with_name(f"{target.name}.data")))
