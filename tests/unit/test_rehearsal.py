"""What a network of the user's own would end the pipeline with is told before the first epoch."""

import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgepress.config.load import Off, Runtime
from edgepress.config.model import Custom, Onnx
from edgepress.config.quant import Calibration, Int8, QuantConfig
from edgepress.datasets.prepared import Description, Split
from edgepress.errors import EdgepressError
from edgepress.graph.imported.network import imported
from edgepress.rehearsal import Choices, rehearse
from tests.networks import CLASSES, network, run_onnx, task

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
    "Softmax": ("pass", "return self.head(self.features(x)).softmax(1)", "the network ends in a Softmax"),
    "a Softmax by hand": (
        "pass",
        "e = self.head(self.features(x)).exp(); return e / e.sum(1, keepdim=True)",
        "the network ends in a Softmax: its outputs add up to 1. Training takes the Softmax itself",
    ),
    "LogSoftmax": (
        "pass",
        "return self.head(self.features(x)).log_softmax(1)",
        "the network ends in a LogSoftmax",
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
        "return self.head(torch.linalg.det(self.conv(x)[..., :3, :3]))",
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


def test_a_network_with_tensors_of_five_axes_goes_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    five = "self.register_buffer('five', torch.ones(1, 1, 1, 1, 4))"
    went = rehearsed(tmp_path, monkeypatch, five, "return self.head(self.features(x) * self.five.reshape(4))")
    assert went == "one step of training, exported, planned for training, quantised, planned for conversion"


def test_what_the_translator_lacks_is_no_matter_where_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = "return self.head(torch.linalg.det(self.conv(x)[..., :3, :3]))"
    went = rehearsed(tmp_path, monkeypatch, "pass", forward, trained=(), quant=Off(), convert="onnx_tf")
    assert went == "one step of training, exported"


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid"])
def test_a_trained_network_from_a_file_is_only_read(op: str, tmp_path: Path) -> None:
    model, path = network(), tmp_path / "net.onnx"
    model.graph.node.append(helper.make_node(op, [model.graph.output[0].name], ["shares"]))
    model.graph.output[0].name = "shares"
    onnx.save(model, path)
    data = Description(
        "d", (2, 8, 8), tuple(map(str, range(CLASSES))), (0, 255), (0.0,) * 2, (1.0,) * 2, {}, "here", "none"
    )
    chosen = Choices(Onnx(str(path), str(path)), ("prune",), INT8, "nhwc")
    split = task(20, seed=1)
    went = rehearse(chosen, data, split, split.inputs(slice(4)), Runtime(0, 1))
    assert went == "read, planned for training, quantised, planned for conversion"
    taken = imported(onnx.load(path), Onnx(str(path), str(path)), (2, 8, 8), CLASSES)
    assert taken.dropped == op
    logits = run_onnx(taken.model, split.inputs())
    np.testing.assert_allclose(taken.as_in_the_file(logits), run_onnx(model, split.inputs()), atol=1e-5)


def rehearsed(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: str,
    forward: str,
    trained: tuple[str, ...] = ("prune", "cluster"),
    quant: QuantConfig = INT8,
    convert: str = "nhwc",
) -> str:
    """The rehearsal of a network with these lines in its constructor and its forward."""
    name = f"net_{folder.name}".replace("-", "_")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    text = textwrap.dedent(PROGRAM).format(made=made, forward=forward)
    (folder / f"{name}.py").write_text(text)
    model = Custom(f"{name}.py", f"{name}.Net")
    return rehearse(Choices(model, trained, quant, convert), DATA, TRAINING, X[:4], Runtime(0, 1))
