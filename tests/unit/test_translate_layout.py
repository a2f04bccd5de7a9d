"""Where the translator writes transposes: as few as the network itself has, or none."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from tests.networks import Graph, assert_faces_agree


def squeeze_and_excite() -> onnx.ModelProto:
    """One factor for each channel, by a mean and two dense layers."""
    graph = Graph(8, 6, 6)
    image = graph.add("Conv", "input", graph.weights(8, 8, 1, 1))
    graph.add("GlobalAveragePool", image)
    graph.add("Reshape", graph.last, np.array([-1, 8]))
    graph.add("Gemm", graph.last, graph.weights(4, 8), graph.weights(4), transB=1)
    graph.add("Relu")
    graph.add("Gemm", graph.last, graph.weights(8, 4), graph.weights(8), transB=1)
    graph.add("Sigmoid")
    graph.add("Reshape", graph.last, np.array([-1, 8, 1, 1]))
    graph.add("Mul", image, graph.last)
    return graph.model()


def selective_kernels() -> onnx.ModelProto:
    """Two branches, stacked, weighted by a softmax over the branches, and summed (SKNet)."""
    graph = Graph(8, 6, 6)
    branches = [graph.add("Conv", "input", graph.weights(8, 8, 1, 1)) for _ in range(2)]
    stacked = graph.add("Concat", *(graph.add("Unsqueeze", each, np.array([1])) for each in branches), axis=1)
    total = graph.add("ReduceSum", stacked, np.array([1]), keepdims=0)
    graph.add("GlobalAveragePool", total)
    graph.add("Conv", graph.last, graph.weights(16, 8, 1, 1))
    graph.add("Reshape", graph.last, np.array([-1, 2, 8, 1, 1]))
    shares = graph.add("Softmax", graph.last, axis=1)
    graph.add("Mul", stacked, shares)
    graph.add("ReduceSum", graph.last, np.array([1]), keepdims=0)
    graph.add("Conv", graph.last, graph.weights(4, 8, 1, 1))
    return graph.model()


def split_attention() -> onnx.ModelProto:
    """Halves of the channels, weighted and summed (ResNeSt)."""
    graph = Graph(8, 6, 6)
    image = graph.add("Conv", "input", graph.weights(16, 8, 1, 1))
    halves = graph.add("Reshape", image, np.array([-1, 2, 8, 6, 6]))
    graph.add("GlobalAveragePool", image)
    shares = graph.add("Reshape", graph.last, np.array([-1, 2, 8, 1, 1]))
    graph.add("Mul", halves, shares)
    graph.add("ReduceSum", graph.last, np.array([1]), keepdims=0)
    graph.add("Conv", graph.last, graph.weights(4, 8, 1, 1))
    return graph.model()


def normalised_last() -> onnx.ModelProto:
    """LayerNormalization and a dense layer over the channels, between permutations (ConvNeXt)."""
    graph = Graph(8, 6, 6, opset=17)
    image = graph.add("Conv", "input", graph.weights(8, 1, 3, 3), group=8, pads=[1, 1, 1, 1])
    graph.add("Transpose", image, perm=[0, 2, 3, 1])
    graph.add("LayerNormalization", graph.last, graph.weights(8), graph.weights(8))
    graph.add("MatMul", graph.last, graph.weights(8, 8))
    graph.add("Transpose", graph.last, perm=[0, 3, 1, 2])
    graph.add("Add", graph.last, image)
    return graph.model()


def group_norm(groups: int) -> onnx.ModelProto:
    """As PyTorch writes it."""
    graph = Graph(8, 6, 6)
    image = graph.add("Conv", "input", graph.weights(8, 8, 1, 1))
    graph.add("Reshape", image, np.array([0, groups, -1]))
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    graph.add("InstanceNormalization", graph.last, ones, zeros)
    graph.add("Reshape", graph.last, np.array([-1, 8, 6, 6]))
    graph.add("Mul", graph.last, graph.weights(8, 1, 1))
    graph.add("Add", graph.last, graph.weights(8, 1, 1))
    graph.add("Conv", graph.last, graph.weights(4, 8, 1, 1))
    return graph.model()


def shuffle() -> onnx.ModelProto:
    """A channel shuffle (ShuffleNet)."""
    graph = Graph(8, 6, 6)
    graph.add("Conv", "input", graph.weights(8, 8, 1, 1))
    graph.add("Reshape", graph.last, np.array([-1, 2, 4, 6, 6]))
    graph.add("Transpose", graph.last, perm=[0, 2, 1, 3, 4])
    graph.add("Reshape", graph.last, np.array([-1, 8, 6, 6]))
    graph.add("Conv", graph.last, graph.weights(4, 8, 1, 1))
    return graph.model()


def attention() -> onnx.ModelProto:
    """Two heads over tokens, query, key and value from one dense layer (ViT)."""
    graph = Graph(8, 5, 2)
    graph.add("Transpose", graph.add("Reshape", "input", np.array([-1, 8, 10])), perm=[0, 2, 1])
    graph.add("MatMul", graph.last, graph.weights(8, 24))
    graph.add("Reshape", graph.last, np.array([-1, 10, 3, 2, 4]))
    stacked = graph.add("Transpose", graph.last, perm=[2, 0, 3, 1, 4])
    query, key, value = (graph.add("Gather", stacked, np.array(i), axis=0) for i in range(3))
    turned = graph.add("Transpose", key, perm=[0, 1, 3, 2])
    graph.add("MatMul", query, turned)
    graph.add("Softmax", graph.last, axis=-1)
    graph.add("MatMul", graph.last, value)
    graph.add("Transpose", graph.last, perm=[0, 2, 1, 3])
    graph.add("Reshape", graph.last, np.array([-1, 10, 8]))
    graph.add("MatMul", graph.last, graph.weights(8, 8))
    return graph.model()


def image_attention() -> onnx.ModelProto:
    """Two heads over the places of an image, query, key and value from a 1×1 convolution (Visformer)."""
    graph = Graph(8, 5, 2)
    graph.add("Conv", "input", graph.weights(24, 8, 1, 1))
    graph.add("Reshape", graph.last, np.array([-1, 3, 2, 4, 10]))
    stacked = graph.add("Transpose", graph.last, perm=[1, 0, 2, 4, 3])
    query, key, value = (graph.add("Gather", stacked, np.array(i), axis=0) for i in range(3))
    turned = graph.add("Transpose", key, perm=[0, 1, 3, 2])
    graph.add("MatMul", query, turned)
    graph.add("Softmax", graph.last, axis=-1)
    graph.add("MatMul", graph.last, value)
    graph.add("Transpose", graph.last, perm=[0, 1, 3, 2])
    graph.add("Reshape", graph.last, np.array([-1, 8, 5, 2]))
    graph.add("Conv", graph.last, graph.weights(4, 8, 1, 1))
    return graph.model()


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], int]] = {
    "squeeze and excite": (squeeze_and_excite, 0),
    "selective kernels": (selective_kernels, 0),
    "split attention": (split_attention, 0),
    "normalised last": (normalised_last, 0),
    "one group": (lambda: group_norm(1), 0),
    "two groups": (lambda: group_norm(2), 0),
    "a group for each channel": (lambda: group_norm(8), 0),
    "channel shuffle": (shuffle, 1),
    "attention": (attention, 2),
    "attention over an image": (image_attention, 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_the_network_demands_is_transposed(name):
    make, transposes = NETWORKS[name]
    plan = assert_faces_agree(make())
    assert sum(step.op == "transpose" for step in plan.steps) == transposes


def test_what_two_readers_want_moved_is_moved_once():
    graph = Graph(8, 5, 2)
    graph.add("Reshape", "input", np.array([-1, 2, 4, 10]))
    turned = graph.add("Transpose", graph.last, perm=[0, 2, 1, 3])
    left = graph.add("Reshape", turned, np.array([-1, 8, 10]))
    right = graph.add("MatMul", left, graph.weights(10, 10))
    graph.add("Softmax", graph.add("Add", left, right), axis=2)
    plan = assert_faces_agree(graph.model())
    assert sum(step.op == "transpose" for step in plan.steps) == 1


def test_a_batch_that_is_not_the_first_axis_is_reshaped_where_it_stands():
    """A recurrent layer in ONNX's own order: its directions are squeezed away with the batch behind them."""
    graph = Graph(10, 5)
    hidden = 4
    steps = graph.add("Transpose", "input", perm=[1, 0, 2])
    kernels = graph.weights(1, 4 * hidden, 5), graph.weights(1, 4 * hidden, hidden)
    graph.add("LSTM", steps, *kernels, hidden_size=hidden)
    graph.add("Squeeze", graph.last, np.array([1]))
    graph.add("Transpose", graph.add("Reshape", graph.last, np.array([5, 2, -1, hidden])), perm=[2, 0, 1, 3])
    assert_faces_agree(graph.model())
