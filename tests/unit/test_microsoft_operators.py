"""Operators of ONNX Runtime's own domain, beside its kernels, and files that it has optimised."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.view import copy
from edgepress.inspection.onnx_model import inspect_onnx
from tests.beside import Arrays, in_file, model_of, wanted

RANDOM = np.random.default_rng(4)
B, S, D, H = 2, 6, 16, 4


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def mask(*shape: int) -> np.ndarray:
    """With a key at least that each query sees."""
    made = RANDOM.integers(0, 2, shape).astype(np.int32)
    made[..., 0] = 1
    return made


X, ROW, EVEN = floats(B, S, D), floats(D), floats(D) + 1
QKV = {"w": floats(D, 3 * D) / 4, "b": floats(3 * D)}
HEADS = {"k": floats(B, S, D), "v": floats(B, S, D)}
TABLES = {"words": floats(9, D), "places": floats(S + 2, D), "kinds": floats(2, D), "g": EVEN, "b": ROW}
IDS = {"ids": RANDOM.integers(0, 9, (B, S)).astype(np.int32)}
NIBBLES = {
    "w": RANDOM.integers(0, 256, (5, 3, 8)).astype(np.uint8),
    "s": np.abs(floats(15)) + 0.1,
    "z": RANDOM.integers(0, 256, 10).astype(np.uint8),
}

ANGLES = floats(9, 4)

CASES: dict[str, tuple[str, Arrays, Arrays]] = {
    "Gelu": ("y = com.microsoft.Gelu (x)", {"x": X}, {}),
    "BiasGelu": ("y = com.microsoft.BiasGelu (x, b)", {"x": X}, {"b": ROW}),
    "FastGelu": ("y = com.microsoft.FastGelu (x)", {"x": X}, {}),
    "FastGelu, bias": ("y = com.microsoft.FastGelu (x, b)", {"x": X}, {"b": ROW}),
    "QuickGelu": ("y = com.microsoft.QuickGelu (x)", {"x": X}, {}),
    "QuickGelu, alpha": ("y = com.microsoft.QuickGelu <alpha = 1.0> (x)", {"x": X}, {}),
    "ExpandDims": ("y = com.microsoft.ExpandDims (x, a)", {"x": X}, {"a": np.array(-2, np.int32)}),
    "Trilu": ("y = com.microsoft.Trilu <upper = 0> (x)", {"x": X}, {}),
    "FusedMatMul": (
        "y = com.microsoft.FusedMatMul <alpha = 0.25, transA = 1, transB = 1> (x, w)",
        {"x": floats(B, D, S)},
        {"w": floats(7, D)},
    ),
    "FusedMatMul, computed": (
        "y = com.microsoft.FusedMatMul <alpha = 0.5, transB = 1> (x, z)",
        {"x": floats(B, H, S, 4), "z": floats(B, H, 5, 4)},
        {},
    ),
    "FusedMatMul, batches": (
        "y = com.microsoft.FusedMatMul <transBatchA = 1, transBatchB = 1, transB = 1> (x, z)",
        {"x": floats(S, B, 4), "z": floats(5, B, 4)},
        {},
    ),
    "TransposeMatMul": (
        "y = com.microsoft.TransposeMatMul <transA = 1> (x, z)",
        {"x": floats(4, S), "z": floats(4, 5)},
        {},
    ),
    **{
        f"FusedConv, {kind}": (
            f'y = com.microsoft.FusedConv <pads = [1, 1, 1, 1], activation = "{kind}"{more}> (x, w, b)',
            {"x": floats(1, 3, 6, 5)},
            {"w": floats(4, 3, 3, 3), "b": floats(4)},
        )
        for kind, more in {
            "Relu": "",
            "Tanh": "",
            "Sigmoid": "",
            "LeakyRelu": ", activation_params = [0.3]",
            "Clip": ", activation_params = [-0.5, 1.5]",
            "HardSigmoid": ", activation_params = [0.3, 0.4]",
        }.items()
    },
    "FusedConv, sum": (
        'y = com.microsoft.FusedConv <activation = "Relu"> (x, w, b, z)',
        {"x": floats(1, 3, 6, 5), "z": floats(1, 4, 6, 5)},
        {"w": floats(4, 3, 1, 1), "b": floats(4)},
    ),
    **{
        f"FusedGemm, {kind}": (
            f'y = com.microsoft.FusedGemm <transB = 1, alpha = 0.5, activation = "{kind}"{more}> (x, w, b)',
            {"x": floats(3, D)},
            {"w": floats(5, D), "b": floats(5)},
        )
        for kind, more in {"Relu": "", "LeakyRelu": ", activation_alpha = 0.2", "Tanh": ""}.items()
    },
    "LayerNormalization": ("y = LayerNormalization <axis = -1> (x, g, b)", {"x": X}, {"g": EVEN, "b": ROW}),
    "LayerNormalization, two axes": (
        "y, m, i = LayerNormalization <axis = 1> (x, g)",
        {"x": X},
        {"g": floats(S, D)},
    ),
    "SimplifiedLayerNormalization": (
        "y = SimplifiedLayerNormalization <axis = -1, epsilon = 0.001> (x, g)",
        {"x": X},
        {"g": EVEN},
    ),
    "SkipLayerNormalization": (
        "y, , , z = com.microsoft.SkipLayerNormalization <epsilon = 0.001> (x, k, g, b, c)",
        {"x": X, "k": floats(B, S, D)},
        {"g": EVEN, "b": ROW, "c": floats(D)},
    ),
    "SkipLayerNormalization, one skip for all": (
        "y = com.microsoft.SkipLayerNormalization (x, k, g)",
        {"x": X, "k": floats(1, S, D)},
        {"g": EVEN},
    ),
    "SkipSimplifiedLayerNormalization": (
        "y, , , z = com.microsoft.SkipSimplifiedLayerNormalization (x, k, g, b)",
        {"x": X, "k": floats(B, S, D)},
        {"g": EVEN, "b": ROW},
    ),
    "EmbedLayerNormalization": (
        "y, , z = com.microsoft.EmbedLayerNormalization (ids, kind, words, places, kinds, g, b)",
        {**IDS, "kind": mask(B, S)},
        TABLES,
    ),
    "EmbedLayerNormalization, places and lengths": (
        "y, z = com.microsoft.EmbedLayerNormalization (ids, , words, places, , g, b, m, at)",
        {**IDS, "m": mask(B, S), "at": RANDOM.integers(0, S, (B, S)).astype(np.int32)},
        TABLES,
    ),
    "Attention": (f"y = com.microsoft.Attention <num_heads = {H}> (x, w, b)", {"x": X}, QKV),
    "Attention, mask": (
        f"y = com.microsoft.Attention <num_heads = {H}> (x, w, b, m)",
        {"x": X, "m": mask(B, S)},
        QKV,
    ),
    "Attention, a mask for each query": (
        f"y = com.microsoft.Attention <num_heads = {H}, scale = 0.3> (x, w, b, m)",
        {"x": X, "m": mask(B, S, S)},
        QKV,
    ),
    "Attention, causal with a bias of the scores": (
        f"y = com.microsoft.Attention <num_heads = {H}, unidirectional = 1> (x, w, b, , , more)",
        {"x": X, "more": floats(B, H, S, S)},
        QKV,
    ),
    "Attention, past": (
        f"y, z = com.microsoft.Attention <num_heads = {H}, unidirectional = 1> (x, w, b, , past)",
        {"x": X, "past": floats(2, B, H, 3, 4)},
        QKV,
    ),
    "Attention, other sizes": (
        "y = com.microsoft.Attention <num_heads = 2, qkv_hidden_sizes = [8, 8, 12]> (x, w, b)",
        {"x": X},
        {"w": floats(D, 28) / 4, "b": floats(28)},
    ),
    "MultiHeadAttention": (
        f"y = com.microsoft.MultiHeadAttention <num_heads = {H}> (x, k, v)",
        {"x": X, **HEADS},
        {},
    ),
    "MultiHeadAttention, bias, mask and other values": (
        f"y = com.microsoft.MultiHeadAttention <num_heads = {H}, scale = 0.4> (x, k, v, b, m, more)",
        {"x": X, "k": floats(B, 5, D), "v": floats(B, 5, 8), "m": mask(B, 5), "more": floats(1, H, S, 5)},
        {"b": floats(2 * D + 8)},
    ),
    "MultiHeadAttention, past": (
        f"y, z, u = com.microsoft.MultiHeadAttention <num_heads = {H}, unidirectional = 1>"
        " (x, k, v, , , , pk, pv)",
        {"x": X, **HEADS, "pk": floats(B, H, 3, 4), "pv": floats(B, H, 3, 4)},
        {},
    ),
    "MultiHeadAttention, an encoder's keys": (
        f"y = com.microsoft.MultiHeadAttention <num_heads = {H}> (x, k, v)",
        {"x": X, "k": floats(B, H, 5, 4), "v": floats(B, H, 5, 4)},
        {},
    ),
    "Attention, lengths": (
        f"y = com.microsoft.Attention <num_heads = {H}> (x, w, b, n)",
        {"x": X, "n": np.array([4, 2], np.int32)},
        QKV,
    ),
    "EmbedLayerNormalization and Attention": (
        f"""e, n = com.microsoft.EmbedLayerNormalization (ids, , words, places, , g, b, m)
        y = com.microsoft.Attention <num_heads = {H}> (e, w, c, n)""",
        {**IDS, "m": np.tri(S, dtype=np.int32)[[2, 4]]},
        {**TABLES, "w": QKV["w"], "c": QKV["b"]},
    ),
    **{
        f"RotaryEmbedding, {name}": (
            f"y = com.microsoft.RotaryEmbedding <{options}> (x, at, cos, sin)",
            {"x": x, "at": at},
            {"cos": np.cos(ANGLES), "sin": np.sin(ANGLES)},
        )
        for name, options, x, at in (
            ("places", "interleaved = 0", X, np.array([[3, 1, 0, 2, 5, 4], [7, 6, 5, 4, 3, 2]])),
            ("one place", "interleaved = 0", X, np.array([2])),
            ("pairs", "interleaved = 1", X, np.array([1])),
            ("heads", "interleaved = 1", floats(B, 3, S, 8), np.array([1])),
            ("a part", "num_heads = 1, rotary_embedding_dim = 8", X, np.array([1])),
        )
    },
    "MatMulNBits": (
        "y = com.microsoft.MatMulNBits <K = 40, N = 5, bits = 4, block_size = 16> (x, w, s)",
        {"x": floats(3, 40)},
        {name: NIBBLES[name] for name in "ws"},
    ),
    "MatMulNBits, zero points": (
        "y = com.microsoft.MatMulNBits <K = 40, N = 5, bits = 4, block_size = 16> (x, w, s, z)",
        {"x": floats(3, 40)},
        NIBBLES,
    ),
    "CDist": (
        'y = com.microsoft.CDist <metric = "euclidean"> (x, z)',
        {"x": floats(7, 3)},
        {"z": floats(5, 3)},
    ),
    "CDist, squares": ('y = com.microsoft.CDist <metric = "sqeuclidean"> (x, z)', {"x": X[0], "z": X[1]}, {}),
}


def _model(case: str, opset: int) -> tuple[onnx.ModelProto, Arrays]:
    nodes, feeds, constants = CASES[case]
    last = nodes.splitlines()[-1].partition("=")[0]
    made = [name.strip() for name in last.split(",") if name.strip() in ("y", "z", "u")]
    kinds = {"z": "int32"} if "lengths" in case else {}
    results = ", ".join(f"{kinds.get(name, 'float')} {name}" for name in made)
    return model_of(nodes, feeds, results, opset, constants), feeds


def _same(model: onnx.ModelProto, feeds: Arrays) -> None:
    expected = wanted(model, feeds)
    made = in_file(normalise(copy(model)), feeds)
    for name, right in expected.items():
        assert np.unique(right).size > 1 and made[name].shape == right.shape
        np.testing.assert_allclose(made[name], right, 1e-5, 2e-6 * np.abs(right).max())


@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_onnx_runtime_does(case: str) -> None:
    _same(*_model(case, 17))


OLD = ["BiasGelu", "FusedMatMul", "LayerNormalization", "EmbedLayerNormalization, places and lengths"]


@pytest.mark.parametrize("opset", [12, 20])
@pytest.mark.parametrize("case", [*OLD, "Attention, mask", "SkipLayerNormalization", "FusedConv, Clip"])
def test_it_does_so_in_other_opsets(case: str, opset: int) -> None:
    _same(*_model(case, opset))


@pytest.mark.parametrize("activation", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_groups_are_normalised(last: int, activation: int) -> None:
    """ONNX Runtime has kernels for GPUs alone."""
    image, scale, shift = floats(2, 8, 5, 3), floats(8) + 1, floats(8)
    options = f"groups = 4, epsilon = 0.001, channels_last = {last}, activation = {activation}"
    nodes = f"y, z = com.microsoft.SkipGroupNorm <{options}> (x, g, b, k)"
    given = image.transpose(0, 2, 3, 1) if last else image
    feeds = {"x": np.ascontiguousarray(given) - 1, "k": np.ones_like(given)}
    model = model_of(nodes, feeds, "float y, float z", 17, {"g": scale, "b": shift})
    grouped = image.reshape(2, 4, -1)
    centred = grouped - grouped.mean(2, keepdims=True)
    even = (centred / np.sqrt((centred**2).mean(2, keepdims=True) + 0.001)).reshape(image.shape)
    right = even * scale[:, None, None] + shift[:, None, None]
    right = right / (1 + np.exp(-right)) if activation else right
    made = in_file(normalise(model), feeds)
    np.testing.assert_allclose(made["z"], given, 1e-5, 1e-5)
    np.testing.assert_allclose(made["y"], right.transpose(0, 2, 3, 1) if last else right, 1e-5, 1e-5)


# Files that ONNX Runtime has optimised


def _transformer(before: bool) -> tuple[str, dict[str, Any]]:
    """A block as PyTorch exports it, its normalisations before or behind the layers."""
    even = """{y}m = ReduceMean <axes = [-1]> ({x}) {y}c = Sub ({x}, {y}m) {y}q = Pow ({y}c, two)
        {y}v = ReduceMean <axes = [-1]> ({y}q) {y}e = Add ({y}v, eps) {y}r = Sqrt ({y}e)
        {y}d = Div ({y}c, {y}r) {y}s = Mul ({y}d, g) {y} = Add ({y}s, b)"""
    heads = "".join(
        f"""{n}p = MatMul ({{x}}, w{n}) {n}b = Add (b{n}, {n}p) {n}h = Reshape ({n}b, heads)
        {n}t = Transpose <perm = {"[0, 2, 3, 1]" if n == "k" else "[0, 2, 1, 3]"}> ({n}h) """
        for n in "qkv"
    )
    attend = """a = MatMul (qt, kt) as = Div (a, root) am = Add (as, mask) p = Softmax <axis = -1> (am)
        o = MatMul (p, vt) ot = Transpose <perm = [0, 2, 1, 3]> (o) of = Reshape (ot, flat)
        op = MatMul (of, wo) ob = Add (bo, op)"""
    feed = """f = MatMul ({x}, w1) fb = Add (b1, f) fd = Div (fb, sqrt2) fe = Erf (fd) fo = Add (fe, one)
        fm = Mul (fb, fo) fg = Mul (fm, half) h = MatMul (fg, w2) hb = Add (b2, h)"""
    masked = "mf = Cast <to = 1> (seen) mn = Sub (one, mf) mw = Mul (mn, low) mask = Unsqueeze (mw, to)"
    if before:
        parts = [even.format(x="x", y="n1"), heads.format(x="n1"), attend, "s1 = Add (x, ob)"]
        parts += [even.format(x="s1", y="n2"), feed.format(x="n2"), "y = Add (s1, hb)"]
    else:
        parts = [heads.format(x="x"), attend, "s1 = Add (x, ob)", even.format(x="s1", y="n1")]
        parts += [feed.format(x="n1"), "s2 = Add (n1, hb)", even.format(x="s2", y="y")]
    numbers = {"two": 2, "eps": 1e-5, "root": 2, "sqrt2": 2**0.5, "one": 1, "half": 0.5, "low": -10000}
    constants: dict[str, Any] = {name: np.float32(value) for name, value in numbers.items()}
    constants |= {f"w{n}": floats(D, D) / 4 for n in "qkvo"} | {f"b{n}": floats(D) for n in "qkvo"}
    constants |= {"w1": floats(D, 24) / 4, "b1": floats(24), "w2": floats(24, D) / 4, "b2": floats(D)}
    constants |= {"heads": np.array([0, 0, H, D // H]), "flat": np.array([0, 0, D]), "to": np.array([1, 2])}
    return " ".join([masked, *parts]), {**constants, "g": EVEN, "b": ROW}


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("before", [False, True])
def test_a_transformer_that_onnx_runtime_has_optimised(before: bool, opset: int, tmp_path: Path) -> None:
    nodes, constants = _transformer(before)
    feeds = {"x": X, "seen": mask(B, S).astype(np.int64)}
    model = model_of(nodes, feeds, "float y", opset, constants)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    kinds = {node.op_type for node in optimised.graph.node if node.domain == "com.microsoft"}
    even = {node.op_type for node in optimised.graph.node if "LayerNormalization" in node.op_type}
    assert even and kinds >= {"FusedMatMul"} and kinds & {"BiasGelu", "Gelu"}
    counts = inspect_onnx(tmp_path / "optimised.onnx").op_counts
    assert counts["com.microsoft.FusedMatMul"] == 1
    right = wanted(model, feeds)["y"]
    np.testing.assert_allclose(in_file(normalise(optimised), feeds)["y"], right, 1e-5, 1e-5)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            'y = com.microsoft.FusedConv <activation = "Mish"> (x, w)',
            r"node 'y' \(com.microsoft.FusedConv\): its activation is 'Mish'; expected Clip or one of Relu",
        ),
        (
            "y = com.microsoft.Inverse (x)",
            r"no operator for node 'y' \(com.microsoft.Inverse\); .*optimise.* at ORT_ENABLE_BASIC",
        ),
        (
            "y = com.microsoft.nchwc.Conv (x, w)",
            r"no operator for node 'y' \(com.microsoft.nchwc.Conv\); .*optimise.* at ORT_ENABLE_BASIC",
        ),
    ],
)
def test_what_has_no_such_meaning_is_refused_in_a_line(nodes: str, message: str) -> None:
    model = model_of(nodes, {"x": floats(1, 4, 6, 6)}, "float y", 17, {"w": floats(4, 4, 1, 1)})
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        normalise(model)
    assert "\n" not in str(caught.value)
