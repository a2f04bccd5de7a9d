"""Writes small models of one network for tests: `python small_models.py FOLDER`.

A process of its own, since TensorFlow is slow to import and warns where tests take warnings for errors.
The network takes raw (3, 8, 6) images, no two lengths equal, and tells 5 classes apart at random.
"""

import os
import sys
from pathlib import Path

os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3")

import numpy as np
import onnx
import tensorflow as tf
from onnxruntime import quantization

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, 3, 8, 6)).astype(np.uint8)
CONV = np.round(RANDOM.normal(size=(8, 3, 3, 3)), 1).astype(np.float32)  # (O, I, H, W); few distinct values
CONV[:, 0] = 0
DEPTHWISE = RANDOM.normal(size=(8, 1, 3, 3)).astype(np.float32)
DENSE = RANDOM.normal(size=(5, 8)).astype(np.float32)
LIGHT = np.ones((64, 3, 3, 3), np.float32)
HEAVY = np.ones((256, 64, 3, 3), np.float32)
BIAS = RANDOM.normal(size=5).astype(np.float32)


class Calibration(quantization.CalibrationDataReader):
    """Gives the images one by one."""

    def __init__(self):
        self._images = iter(IMAGES.astype(np.float32)[:, np.newaxis])

    def get_next(self):
        image = next(self._images, None)
        return None if image is None else {"input": image}


def network(x):
    """The network on NHWC."""
    x = tf.nn.relu(tf.nn.conv2d(x / 255.0, CONV.transpose(2, 3, 1, 0), 1, "SAME"))
    x = tf.nn.relu(tf.nn.depthwise_conv2d(x, DEPTHWISE.transpose(2, 3, 0, 1), [1, 1, 1, 1], "SAME"))
    return tf.matmul(tf.reduce_mean(x, [1, 2]), DENSE.T) + BIAS


def upscale(x):
    """A transposed convolution of an NHWC image."""
    return tf.nn.conv2d_transpose(x, CONV.transpose(2, 3, 0, 1), [1, 16, 12, 8], 2)


def rarities(x):
    """The network, and two operators that few devices have."""
    return tf.tile(tf.pow(tf.abs(network(x)) + 1.0, 1.5), [1, 2])


def padded(x):
    """Padding for a convolution, and padding for a sum, which also takes what was padded."""
    x = tf.nn.conv2d(
        tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), np.ones((10, 8, 3, 4), np.float32), 1, "VALID"
    )
    return tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]]) + x


def uneven(x):
    """A light layer, and one with eighty times the work."""
    return tf.nn.conv2d(
        tf.nn.conv2d(x, LIGHT.transpose(2, 3, 1, 0), 1, "SAME"), HEAVY.transpose(2, 3, 1, 0), 1, "SAME"
    )


def onnx_uneven():
    """The same as ONNX."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Conv", ["input", "light"], ["light_made"], pads=[1, 1, 1, 1], name="light"),
        node("Conv", ["light_made", "heavy"], ["heavy_made"], pads=[1, 1, 1, 1], name="heavy"),
    ]
    weights = [
        onnx.numpy_helper.from_array(array, name) for name, array in (("light", LIGHT), ("heavy", HEAVY))
    ]
    ends = [value("input", 1, [1, 3, 8, 6])], [value("heavy_made", 1, [1, 256, 8, 6])]
    graph = onnx.helper.make_graph(nodes, "uneven", *ends, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def convert_signed(function, shape, folder):
    """A `.tflite` with a signature, as those of a saved model have one."""
    signature = [tf.TensorSpec([1, *shape], tf.float32, name="input")]
    module = tf.Module()
    module.call = tf.function(function, autograph=False, input_signature=signature)
    tf.saved_model.save(module, str(folder), signatures=module.call.get_concrete_function())
    return tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()


def convert(function, shape, optimise=False, calibrate=False, io_dtype=tf.float32, float16=False):
    """A `.tflite` of a function of one image."""
    signature = [tf.TensorSpec([1, *shape], tf.float32, name="input")]
    concrete = tf.function(function, autograph=False, input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimise else []
    converter.inference_input_type = converter.inference_output_type = io_dtype
    if calibrate:
        images = IMAGES.astype(np.float32).transpose(0, 2, 3, 1)
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
    if float16:
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def onnx_network():
    """The network as ONNX, NCHW, dynamic batch."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    constants = {"scale": np.float32(255), "conv": CONV, "depthwise": DEPTHWISE, "dense": DENSE, "bias": BIAS}
    nodes = [
        node("Div", ["input", "scale"], ["scaled"]),
        node("Conv", ["scaled", "conv"], ["a"], pads=[1, 1, 1, 1], name="conv"),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "depthwise"], ["c"], pads=[1, 1, 1, 1], group=8, name="depthwise"),
        node("Relu", ["c"], ["d"]),
        node("GlobalAveragePool", ["d"], ["e"]),
        node("Flatten", ["e"], ["f"]),
        node("Gemm", ["f", "dense", "bias"], ["logits"], transB=1, name="dense"),
    ]
    ends = [value("input", 1, ["batch", 3, 8, 6])], [value("logits", 1, ["batch", 5])]
    weights = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "small", *ends, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def endless_network():
    """An ONNX network of the same input and output that never ends: a Loop without a limit."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Identity", ["go_on"], ["still"]),
        node("Neg", ["x"], ["y"]),
    ]
    ends = (
        [value("turn", 7, []), value("go_on", 9, []), value("x", 1, None)],
        [value("still", 9, []), value("y", 1, None)],
    )
    body = onnx.helper.make_graph(nodes, "body", *ends)
    network = onnx_network()
    network.graph.node[-1].output[0] = "finite"
    true = onnx.numpy_helper.from_array(np.array(True), "true")
    network.graph.initializer.append(true)
    network.graph.node.append(node("Loop", ["", "true", "finite"], ["logits"], body=body))
    return network


def write_tflite(folder):
    shape, int8 = (8, 6, 3), tf.int8
    models = {
        "float": convert(network, shape),
        "float16": convert(network, shape, optimise=True, float16=True),
        "int8": convert(network, shape, optimise=True, calibrate=True, io_dtype=int8),
        "int8_float_io": convert(network, shape, optimise=True, calibrate=True),
        "nchw": convert(lambda x: network(tf.transpose(x, [0, 2, 3, 1])), (3, 8, 6)),
        "constant": convert(lambda x: network(x * 0.0), shape),
        "rarities": convert(rarities, shape),
        "transpose_conv": convert(upscale, (8, 6, 3)),
        "uneven": convert(uneven, shape),
        "padded": convert_signed(padded, shape, folder / "saved_model"),
    }
    for name, content in models.items():
        (folder / f"{name}.tflite").write_bytes(content)


def write_onnx(folder):
    onnx.save(onnx_network(), folder / "float.onnx")
    onnx.save(endless_network(), folder / "endless.onnx")
    onnx.save(onnx_uneven(), folder / "uneven.onnx")
    quantization.quantize_static(
        folder / "float.onnx", folder / "int8.onnx", Calibration(), per_channel=True,
        activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


if __name__ == "__main__":
    target = Path(sys.argv[1])
    np.save(target / "images.npy", IMAGES)
    np.savez(target / "weights.npz", conv=CONV, depthwise=DEPTHWISE, dense=DENSE, bias=BIAS)
    write_tflite(target)
    write_onnx(target)
