"""Small networks with inputs and outputs of many kinds, and data for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgepress.config.data import Splits
from edgepress.config.model import Onnx
from edgepress.datasets.dataset import Dataset, unknown_classes
from edgepress.datasets.prepared import Description
from edgepress.datasets.samples import Samples
from edgepress.datasets.splits import describe, split
from edgepress.graph.imported.network import ImportedNetwork, imported

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

SAMPLES = 120
RAW = Onnx("net.onnx", "net.onnx")
_HEAD = '<ir_version: 8, opset_import: ["" : 17]> '


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def parsed(text: str, **constants: Array) -> onnx.ModelProto:
    """A model in onnx's language, and its weights by name."""
    model = onnx.parser.parse_model(_HEAD + text)
    for name, values in constants.items():
        array = values.astype(np.float32) if values.dtype == np.float64 else values
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model


def two_inputs() -> tuple[onnx.ModelProto, Arrays]:
    """An image and what is known of it → scores."""
    random = _random()
    text = """two (float[n, 3, 12, 12] image, float[n, 4] meta) => (float[n, 5] scores) {
        c = Conv <strides = [2, 2]> (image, kernel, bias)
        r = Relu (c)
        p = GlobalAveragePool (r)
        f = Flatten (p)
        d = MatMul (meta, dense)
        g = Sigmoid (d)
        m = Mul (f, g)
        scores = Gemm (m, last, end)
    }"""
    weights = {
        "kernel": random.normal(size=(8, 3, 3, 3)),
        "bias": random.normal(size=8),
        "dense": random.normal(size=(4, 8)),
        "last": random.normal(size=(8, 5)),
        "end": random.normal(size=5),
    }
    data = {"image": random.normal(size=(SAMPLES, 3, 12, 12)), "meta": random.normal(size=(SAMPLES, 4))}
    return parsed(text, **weights), {name: values.astype(np.float32) for name, values in data.items()}


def tokens() -> tuple[onnx.ModelProto, Arrays]:
    """Token ids and a mask → attention → logits of each token."""
    random = _random()
    text = """tokens (int64[n, 6] input_ids, int64[n, 6] attention_mask) => (float[n, 6, 7] token_logits) {
        x = Gather (table, input_ids)
        q = MatMul (x, wq)
        k = MatMul (x, wk)
        kt = Transpose <perm = [0, 2, 1]> (k)
        qk = MatMul (q, kt)
        seen = Cast <to = 1> (attention_mask)
        hidden = Sub (one, seen)
        row = Unsqueeze (hidden, axis)
        far = Mul (row, large)
        masked = Add (qk, far)
        shares = Softmax <axis = -1> (masked)
        v = MatMul (x, wv)
        mixed = MatMul (shares, v)
        y = Add (x, mixed)
        token_logits = MatMul (y, wo)
    }"""
    weights = {name: random.normal(size=(8, 8)) / 3 for name in ("wq", "wk", "wv")}
    weights |= {"table": random.normal(size=(40, 8)), "wo": random.normal(size=(8, 7))}
    weights |= {"one": np.float32(1), "large": np.float32(-100), "axis": np.array([1])}
    lengths = random.integers(2, 7, (SAMPLES, 1))
    ids = random.integers(0, 40, (SAMPLES, 6))
    return parsed(text, **weights), {
        "input_ids": ids,
        "attention_mask": (np.arange(6) < lengths).astype(np.int64),
    }


def streaming() -> tuple[onnx.ModelProto, Arrays]:
    """A frame and a state (layers, batch, width) → an output and the next state."""
    random = _random()
    text = """streaming (float[1, 6] frame, float[2, 1, 8] state) => (float[1, 3] out, float[2, 1, 8] next) {
        first, second = Split <axis = 0> (state)
        a = Squeeze (first, zero)
        b = Squeeze (second, zero)
        x = MatMul (frame, wx)
        ha = MatMul (a, wa)
        s = Add (x, ha)
        h = Tanh (s)
        hb = MatMul (b, wb)
        t = Add (h, hb)
        g = Sigmoid (t)
        out = MatMul (g, wo)
        hu = Unsqueeze (h, zero)
        gu = Unsqueeze (g, zero)
        next = Concat <axis = 0> (hu, gu)
    }"""
    weights = {"wx": random.normal(size=(6, 8)), "wo": random.normal(size=(8, 3)), "zero": np.array([0])}
    weights |= {name: random.normal(size=(8, 8)) / 3 for name in ("wa", "wb")}
    data = {
        "frame": random.normal(size=(SAMPLES, 6)),
        "state": random.normal(size=(SAMPLES, 2, 1, 8)) * 0.3,
    }
    return parsed(text, **weights), {name: values.astype(np.float32) for name, values in data.items()}


def fixed_batch() -> tuple[onnx.ModelProto, Arrays]:
    """Windows of a signal, three in each inference, of which each is compared with the first."""
    random = _random()
    text = """fixed (float[3, 10] windows) => (float[3, 4] y) {
        w = Gemm (windows, dense, bias)
        first = Slice (w, begin, end, begin)
        d = Sub (w, first)
        y = MatMul (d, last)
    }"""
    weights = {"dense": random.normal(size=(10, 8)), "bias": random.normal(size=8)}
    weights |= {"last": random.normal(size=(8, 4)), "begin": np.array([0]), "end": np.array([1])}
    model = parsed(text, **weights)
    return model, {"windows": random.normal(size=(SAMPLES, 3, 10)).astype(np.float32)}


def detection_heads() -> tuple[onnx.ModelProto, Arrays]:
    """An image of bytes → boxes, scores and features."""
    random = _random()
    text = """detection (float[n, 3, 16, 16] images)
    => (float[n, b, 4] boxes, float[n, b, 3] scores, float[n, 8, 4, 4] features) {
        x = Div (images, full)
        a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, one, ones)
        b = Relu (a)
        c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (b, two, twos)
        features = Relu (c)
        d = Conv (features, box)
        e = Reshape (d, four)
        f = Transpose <perm = [0, 2, 1]> (e)
        boxes = Mul (f, size)
        g = Conv (features, class)
        h = Reshape (g, three)
        i = Transpose <perm = [0, 2, 1]> (h)
        scores = Sigmoid (i)
    }"""
    weights = {
        "one": random.normal(size=(6, 3, 3, 3)) / 3,
        "ones": random.normal(size=6) / 9,
        "two": random.normal(size=(8, 6, 3, 3)) / 3,
        "twos": random.normal(size=8) / 9,
        "box": random.normal(size=(4, 8, 1, 1)),
        "class": random.normal(size=(3, 8, 1, 1)),
        "four": np.array([0, 4, -1]),
        "three": np.array([0, 3, -1]),
        "full": np.float32(255),
        "size": np.float32(16),
    }
    return parsed(text, **weights), {"images": random.integers(0, 256, (SAMPLES, 3, 16, 16)).astype(np.uint8)}


def control_flow() -> tuple[onnx.ModelProto, Arrays]:
    """A vector goes through one of two layers, by its sum; one has what TFLite does not."""
    random = _random()
    text = """flow (float[n, 6] x) => (float[n, 4] y) {
        s = ReduceSum <keepdims = 0> (x)
        c = Greater (s, zero)
        xt = Transpose <perm = [1, 0]> (x)
        y = If (c) <
            then_branch = left () => (float[n, 4] r) { r = MatMul (x, wa) },
            else_branch = right () => (float[n, 4] r) {
                q = MatMul (xt, x)
                e = Add (q, eye)
                d = Det (e)
                p = MatMul (x, wb)
                r = Div (p, d)
            }
        >
    }"""
    weights = {"wa": random.normal(size=(6, 4)), "wb": random.normal(size=(6, 4)), "eye": np.eye(6)}
    weights |= {"zero": np.float32(0)}
    return parsed(text, **weights), {"x": random.normal(size=(SAMPLES, 6)).astype(np.float32)}


def every_type() -> tuple[onnx.ModelProto, Arrays]:
    """Inputs of each type, and of no axes up to five; a batch that is last."""
    random = _random()
    text = """types (bool[n, 4] truth, uint8[n, 4] bytes, int8[n, 4] small, int32[n, 4] whole,
        int64[n, 4] long, float16[n, 4] half, float gain, float[n, 2, 2, 2, 4] grid, float[4, n] last)
    => (float[n, 3] y, int32[n, 4] next, bool[n, 4] other, float[4, n] turned) {
        a = Cast <to = 1> (truth)
        b = Cast <to = 1> (bytes)
        c = Cast <to = 1> (small)
        d = Cast <to = 1> (whole)
        e = Cast <to = 1> (long)
        f = Cast <to = 1> (half)
        g = ReduceSum <keepdims = 0> (grid, axes)
        ab = Add (a, b)
        abc = Add (ab, c)
        abcd = Add (abc, d)
        abcde = Add (abcd, e)
        all = Add (abcde, f)
        scaled = Mul (all, gain)
        sum = Add (scaled, g)
        y = MatMul (sum, dense)
        next = Add (whole, one)
        other = Not (truth)
        turned = Relu (last)
    }"""
    weights = {"axes": np.array([1, 2, 3]), "dense": random.normal(size=(4, 3)), "one": np.ones((), np.int32)}
    shape = (SAMPLES, 4)
    return parsed(text, **weights), {
        "truth": random.random(shape) < 0.5,
        "bytes": random.integers(0, 256, shape).astype(np.uint8),
        "small": random.integers(-128, 128, shape).astype(np.int8),
        "whole": random.integers(-9, 9, shape).astype(np.int32),
        "long": random.integers(-9, 9, shape),
        "half": random.normal(size=shape).astype(np.float16),
        "gain": random.random(SAMPLES).astype(np.float32),
        "grid": random.normal(size=(SAMPLES, 2, 2, 2, 4)).astype(np.float32),
        "last": random.normal(size=(*shape, 1)).astype(np.float32),
    }


def mixed() -> tuple[onnx.ModelProto, Arrays]:
    """An image of bytes, ids and truth values, through branches of two results → scores and the best."""
    random = _random()
    text = """mixed (uint8[n, 3, 12, 12] image, int32[n, 5] ids, bool[n, 8] on)
    => (float[n, 5] scores, int64[n] best) {
        x = Cast <to = 1> (image)
        s = Div (x, full)
        c = Conv <strides = [2, 2]> (s, kernel)
        p = GlobalAveragePool (c)
        f = Flatten (p)
        e = Gather (table, ids)
        m = ReduceMean <axes = [1], keepdims = 0> (e)
        w = Where (on, f, m)
        t = ReduceSum <keepdims = 0> (w)
        much = Greater (t, zero)
        a, b = If (much) <
            then_branch = left () => (float[n, 4] l, float[n, 4] r) { l, r = Split <axis = 1> (w) },
            else_branch = right () => (float[n, 4] q, float[n, 4] u) { u, q = Split <axis = 1> (w) }
        >
        both = Sub (a, b)
        scores = Gemm (both, last)
        best = ArgMax <axis = 1, keepdims = 0> (scores)
    }"""
    weights = {"kernel": random.normal(size=(8, 3, 3, 3)), "table": random.normal(size=(20, 8))}
    weights |= {"last": random.normal(size=(4, 5)), "full": np.float32(255), "zero": np.float32(0)}
    return parsed(text, **weights), {
        "image": random.integers(0, 256, (SAMPLES, 3, 12, 12)).astype(np.uint8),
        "ids": random.integers(0, 20, (SAMPLES, 5)).astype(np.int32),
        "on": random.random((SAMPLES, 8)) < 0.5,
    }


NETWORKS: dict[str, Callable[[], tuple[onnx.ModelProto, Arrays]]] = {
    "two inputs": two_inputs,
    "tokens": tokens,
    "a state": streaming,
    "a fixed batch": fixed_batch,
    "detection heads": detection_heads,
    "control flow": control_flow,
    "every type": every_type,
    "mixed": mixed,
}


def described(data: Arrays) -> Description:
    """What the stages know of these arrays."""
    named = Dataset(None, unknown_classes(SAMPLES), (), (0.0, 0.0), "", "", named=data)
    parts = split(named, Splits(0.25, 0.15, 10), 0)
    return describe("inputs", named, parts, None)


def taken(name: str) -> tuple[ImportedNetwork, Samples]:
    """A network as the stages take it, and its data."""
    model, data = NETWORKS[name]()
    return imported(model, RAW, (), 0, described(data).inputs), Samples(data)


def write(name: str, folder: Path) -> tuple[Path, Path]:
    """A network of that name and its data, as files."""
    model, data = NETWORKS[name]()
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "inputs.npz", **data)
    return folder / "net.onnx", folder / "inputs.npz"
