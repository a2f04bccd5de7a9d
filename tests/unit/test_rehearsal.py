"""What a network of the user's own would end the pipeline with is told before the first epoch."""

import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgepress.config.load import Off, Runtime
from edgepress.config.model import Custom, Onnx
from edgepress.config.quant import Calibration, Int8, Int8Qat, QuantConfig
from edgepress.datasets.prepared import Description, Split
from edgepress.errors import EdgepressError, UnsupportedModelError
from edgepress.graph.imported.network import ImportedNetwork, imported
from edgepress.graph.view import set_initializer
from edgepress.rehearsal import Choices, rehearse
from tests.any_networks import SAMPLES, described, parsed
from tests.networks import CLASSES, fine_tuning, network, run_onnx, task

DATA = Description("d", (2, 8, 8), tuple("abc"), (0, 255), (0.0, 0.0), (1.0, 1.0), {}, "here", "none")
X = np.random.default_rng(0).normal(0, 1, (20, 2, 8, 8)).astype(np.float32)
TRAINING = Split(X, np.arange(20) % 3)
INT8 = Int8(True, Calibration("minmax", 16, 2048, 99.99))

PROGRAM = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], 4, 3)
        self.head = nn.Linear(4, classes)
        {made}

    def features(self, x):
        return self.conv(x).relu().mean((2, 3))

    def forward(self, x):
        {forward}
"""
PLAIN = "return self.head(self.features(x))"

REFUSED = {
    "auxiliary outputs": (
        "pass",
        "y = self.head(self.features(x)); return (y, y) if self.training else y",
        "in training mode the network gives a tuple of 2; expected logits (N, classes) alone. Switch its aux",
    ),
    "a dictionary": (
        "pass",
        "y = self.head(self.features(x)); return {'out': y, 'aux': y} if self.training else y",
        "in training mode the network gives a dict with the keys out, aux; expected logits",
    ),
    "another shape in training": (
        "pass",
        "y = self.head(self.features(x)); return y[:, :, None] if self.training else y",
        "in training mode the network gives (8, 3, 1) for 8 inputs; expected logits",
    ),
    "float64": (
        "self.offset = nn.Parameter(torch.zeros(4, dtype=torch.float64))",
        "return self.head(self.features(x) + self.offset.float())",
        "offset of the network is float64; expected float32. Make it with dtype=torch.float32",
    ),
    "a float16 buffer": (
        "self.register_buffer('scale', torch.ones(4, dtype=torch.float16))",
        "return self.head(self.features(x) * self.scale.float())",
        "scale of the network is float16; expected float32",
    ),
    "no parameters": (
        "[p.requires_grad_(False) for p in self.parameters()]",
        PLAIN,
        "the network has no parameters to train; expected at least one that requires a gradient",
    ),
    "detached": (
        "pass",
        "return self.head(self.features(x)).detach()",
        "the network cannot be trained: RuntimeError: element 0 of tensors does not require grad",
    ),
    "an error in training mode": (
        "pass",
        "assert not self.training, 'no training'; return self.head(self.features(x))",
        "the network cannot take inputs of shape (8, 2, 8, 8) in training mode: AssertionError: no training",
    ),
    "a loss that is no number": (
        "pass",
        "return self.head(self.features(x)) / 0 * 0",
        "the loss is nan with the network's initial weights; expected a finite number",
    ),
    "Softmax": ("pass", "return self.head(self.features(x)).softmax(1)", "the network ends in Softmax (node"),
    "a Softmax by hand": (
        "pass",
        "e = self.head(self.features(x)).exp(); return e / e.sum(1, keepdim=True)",
        "the network ends in a Softmax: its outputs add up to 1. Training takes the Softmax itself",
    ),
    "LogSoftmax": (
        "pass",
        "return self.head(self.features(x)).log_softmax(1)",
        "the network ends in LogSoftmax (node",
    ),
    "a LogSoftmax by hand": (
        "pass",
        "y = self.head(self.features(x)); return y - y.logsumexp(1, keepdim=True)",
        "the network ends in a LogSoftmax: its outputs add up to 1.",
    ),
    "a Softmax in evaluation mode": (
        "pass",
        "y = self.head(self.features(x)); return y if self.training else y.softmax(1)",
        "the network ends in Softmax (node",
    ),
    "LogSigmoid": (
        "pass",
        "return nn.functional.logsigmoid(self.head(self.features(x)))",
        "the network ends in Sigmoid (node",
    ),
    "a Sigmoid by hand": (
        "pass",
        "return 1 / (1 + torch.exp(-self.head(self.features(x))))",
        "the network gives values from 0 to 1 whatever its weights are, as behind a Sigmoid. Training takes",
    ),
    "a clamped Sigmoid": (
        "pass",
        "return self.head(self.features(x)).sigmoid().clamp(1e-6, 1 - 1e-6)",
        "the network gives values from 0 to 1 whatever its weights are",
    ),
    "an axis less for a single input": (
        "pass",
        "return self.head(self.features(x)).squeeze()",
        "for a single input the network gives (3,); expected logits (1, classes). Look for squeeze() without",
    ),
    "a dropout that is always on": (
        "pass",
        "return self.head(nn.functional.dropout(self.features(x), 0.5))",
        "in evaluation mode the network gives other logits for the same input; expected the same. Look for",
    ),
    "a state that is no tensor": (
        "type(self).get_extra_state = lambda self: {'a': 1}",
        PLAIN,
        "the network's state holds _extra_state, which is a dict; expected tensors alone.",
    ),
    "BatchNorm of one value": (
        "self.norm = nn.BatchNorm1d(4)",
        "return torch.cat([self.head(self.norm(self.features(each[None]))) for each in x])",
        "in training mode: ValueError: Expected more than 1 value per channel when training",
    ),
    "Sigmoid": (
        "pass",
        "return self.head(self.features(x)).sigmoid().reshape(-1, 3)",
        "the network ends in Sigmoid (node ",
    ),
    "a branch that depends on the data": (
        "pass",
        "y = self.head(self.features(x)); return y if x.sum() > 0 else -y",
        "the network cannot be exported to ONNX: ",
    ),
    "an operator that the translator lacks": (
        "pass",
        "return self.head(torch.linalg.det(self.conv(x)[..., :6, :6]))",
        "Det",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_end_a_later_stage_is_told_in_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, forward, message = REFUSED[fault]
    with pytest.raises(EdgepressError) as error:
        rehearsed(tmp_path, monkeypatch, made, forward)
    assert message in str(error.value)
    assert str(error.value).isprintable()


TAKEN = {
    "tensors of five axes": (
        "self.register_buffer('five', torch.ones(1, 1, 1, 1, 4))",
        "return self.head(self.features(x) * self.five.reshape(4))",
    ),
    "inputs that are changed in place": ("pass", "x -= 0.5; x.mul_(2); return self.head(self.features(x))"),
    "a view between layers": (
        "self.head = nn.Linear(4 * 36, classes)",
        "return self.head(self.conv(x).view(x.shape[0], -1))",
    ),
    "BatchNorm of one value for each input": (
        "self.norm = nn.BatchNorm1d(4)",
        "return self.head(self.norm(self.features(x)))",
    ),
    "a Relu at the end": ("pass", "return self.head(self.features(x)).relu()"),
    "weights that are computed": ("nn.utils.parametrizations.weight_norm(self.head)", PLAIN),
    "weights that begin with zero": ("nn.init.zeros_(self.head.weight)", PLAIN),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_all_stages_take_goes_the_whole_way(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went = rehearsed(tmp_path, monkeypatch, *TAKEN[case])
    assert went == "one step of training, exported, planned for training, quantised, planned for conversion"


def test_what_the_translator_lacks_is_no_matter_where_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = "return self.head(torch.linalg.det(self.conv(x)[..., :3, :3]))"
    went = rehearsed(tmp_path, monkeypatch, "pass", forward, stages=(), quant=Off(), convert="onnx_tf")
    assert went == "one step of training, exported"


BEHIND: dict[str, list[tuple[str, dict[str, object]]]] = {
    "Softmax": [],
    "LogSoftmax": [("Identity", {})],
    "Sigmoid": [("Flatten", {}), ("Dropout", {})],
    "HardSigmoid": [("Cast", {"to": onnx.TensorProto.FLOAT})],
}


@pytest.mark.parametrize("op", BEHIND)
def test_a_trained_network_from_a_file_is_only_read(op: str, tmp_path: Path) -> None:
    """What shapes the shares afterwards does not hide the operator that makes them."""
    model, path = network(), tmp_path / "net.onnx"
    for number, (each, given) in enumerate([(op, {}), *BEHIND[op]]):
        model.graph.node.append(
            helper.make_node(each, [model.graph.output[0].name], [f"shares{number}"], **given)
        )
        model.graph.output[0].name = f"shares{number}"
    onnx.save(model, path)
    taken, split = from_file(path), task(20, seed=1)
    assert taken.dropped is not None
    assert taken.dropped.op_type == op
    logits = run_onnx(taken.model, split.inputs())
    np.testing.assert_allclose(
        taken.as_in_the_file({"logits": logits})[0], run_onnx(model, split.inputs()), atol=1e-5
    )


def test_a_softmax_over_the_channels_of_one_pixel_is_taken_off(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "net.onnx"
    graph = model.graph
    set_initializer(model, "image", np.array([-1, CLASSES, 1, 1]))
    set_initializer(model, "row", np.array([0, -1]))
    graph.node.append(helper.make_node("Reshape", [graph.output[0].name, "image"], ["pixel"]))
    graph.node.append(helper.make_node("Softmax", ["pixel"], ["shares"], axis=1))
    graph.node.append(helper.make_node("Reshape", ["shares", "row"], ["rows"]))
    graph.output[0].name = "rows"
    onnx.save(model, path)
    taken = from_file(path)
    assert taken.dropped is not None
    assert not any(node.op_type == "Softmax" for node in taken.model.graph.node)
    inputs = task(20, seed=1).inputs()
    (shares,) = taken.as_in_the_file({"logits": run_onnx(taken.model, inputs)})
    np.testing.assert_allclose(shares, run_onnx(model, inputs), atol=1e-5)


def test_a_softmax_by_hand_in_a_file_is_refused(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "net.onnx"
    graph = model.graph
    graph.node.append(helper.make_node("Exp", [graph.output[0].name], ["powers"]))
    graph.node.append(helper.make_node("ReduceL1", ["powers"], ["sum"], axes=[1]))
    graph.node.append(helper.make_node("Div", ["powers", "sum"], ["shares"]))
    graph.output[0].name = "shares"
    onnx.save(model, path)
    with pytest.raises(UnsupportedModelError, match=r"^the network ends in a Softmax: its outputs add up to"):
        rehearsed_file(path)


UNTRAINABLE = {
    "a batch": ("float[4, 10] x", "float[4, 3] y", "y = MatMul (x, w)", "has its batch built in (x)"),
    "an output without one": (
        "float[n, 10] x",
        "float[n, 3] y, float s",
        "y = MatMul (x, w) s = ReduceMax <keepdims = 0> (y)",
        "has its batch built in (s)",
    ),
    "integers": (
        "float[n, 10] x",
        "int64[n] y",
        "a = MatMul (x, w) y = ArgMax <axis = 1, keepdims = 0> (a)",
        "no gradient of its outputs (y) reaches its weights",
    ),
    "truth values": (
        "float[n, 10] x, float[n, 3] z",
        "bool[n, 3] y",
        "a = MatMul (x, w) y = Greater (a, z)",
        "no gradient of its outputs (y) reaches",
    ),
    "rounded numbers": (
        "float[n, 10] x, float[n, 3] z",
        "float[n, 3] y, float[n, 3] r",
        "a = MatMul (x, w) b = Round (a) y = Add (b, z) i = Cast <to = 6> (a) r = Cast <to = 1> (i)",
        "no gradient of its outputs (y, r) reaches",
    ),
}


@pytest.mark.parametrize("kind", UNTRAINABLE)
@pytest.mark.parametrize("stage", ["prune", "cluster", "quant"])
def test_what_cannot_be_fine_tuned_is_told_before_the_stage(kind: str, stage: str, tmp_path: Path) -> None:
    inputs, outputs, nodes, message = UNTRAINABLE[kind]
    random = np.random.default_rng(0)
    model = parsed(f"m ({inputs}) => ({outputs}) {{ {nodes} }}", w=random.normal(size=(10, 3)))
    onnx.save(model, tmp_path / "net.onnx")
    shapes = {"x": (SAMPLES, 4, 10) if kind == "a batch" else (SAMPLES, 10), "z": (SAMPLES, 3)}
    data = {i.name: random.normal(size=shapes[i.name]).astype(np.float32) for i in model.graph.input}
    training = Split(np.empty(0), np.full(SAMPLES, -1), data)

    def went(epochs: int) -> str:
        tuning = fine_tuning(epochs=epochs, distillation=1.0)
        in_training = Int8Qat(True, 0.9, INT8.calibration, tuning)
        chosen = Choices(
            Onnx(str(tmp_path / "net.onnx"), str(tmp_path)),
            {} if stage == "quant" else {stage: tuning},
            in_training if stage == "quant" else INT8,
            "nhwc",
        )
        return rehearse(chosen, described(data), training, training.samples(slice(4)), Runtime(0, 1))

    with pytest.raises(UnsupportedModelError) as error:
        went(1)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{stage}: ")
    assert str(error.value).endswith(f"{stage}.fine_tune.epochs=0")
    assert went(0) == "read, planned for training, quantised, planned for conversion"


def from_file(path: Path) -> ImportedNetwork:
    """A network of a file as the stages take it, proven to go the whole way."""
    assert rehearsed_file(path) == "read, planned for training, quantised, planned for conversion"
    return imported(onnx.load(path), Onnx(str(path), str(path)), (2, 8, 8), CLASSES)


def rehearsed_file(path: Path) -> str:
    data = Description(
        "d", (2, 8, 8), tuple(map(str, range(CLASSES))), (0, 255), (0.0,) * 2, (1.0,) * 2, {}, "here", "none"
    )
    chosen = Choices(Onnx(str(path), str(path)), {"prune": fine_tuning()}, INT8, "nhwc")
    split = task(20, seed=1)
    return rehearse(chosen, data, split, split.inputs(slice(4)), Runtime(0, 1))


def rehearsed(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: str,
    forward: str,
    stages: tuple[str, ...] = ("prune", "cluster"),
    quant: QuantConfig = INT8,
    convert: str = "nhwc",
) -> str:
    """The rehearsal of a network with these lines in its constructor and its forward."""
    name = f"net_{folder.name}".replace("-", "_")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    text = textwrap.dedent(PROGRAM).format(made=made, forward=forward)
    (folder / f"{name}.py").write_text(text)
    model, trained = Custom(f"{name}.py", f"{name}.Net"), {stage: fine_tuning() for stage in stages}
    return rehearse(Choices(model, trained, quant, convert), DATA, TRAINING, X[:4], Runtime(0, 1))
