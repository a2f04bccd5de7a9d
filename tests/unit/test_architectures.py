"""The networks one can choose, and the user's own."""

import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import torch
from torch import nn

from edgepress.architectures.registry import NETWORKS, build
from edgepress.config.model import CHOICES, Custom, DsCnn, Mlp, MobileNetV1, ModelConfig, ResNet8
from edgepress.errors import ConfigError

SMALL: dict[str, ModelConfig] = {
    "resnet8": ResNet8("", 4),
    "mobilenet_v1": MobileNetV1("", 0.25),
    "ds_cnn": DsCnn("", 8, 2),
    "mlp": Mlp("", (8, 6)),
}


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def norms(net: nn.Module) -> int:
    """The number of channels that BatchNormalization has in all."""
    return sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))


class TestBuiltIn:
    def test_all_but_those_of_the_user_have_a_network(self) -> None:
        assert NETWORKS.keys() == SMALL.keys() | {"timm"} == CHOICES.keys() - {"custom", "onnx"}

    @pytest.mark.parametrize("name", SMALL)
    @pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 32, 32), (1, 33, 47)])
    def test_gives_logits_for_any_image(self, name: str, input_shape: tuple[int, ...]) -> None:
        net = build(SMALL[name], input_shape, 7).eval()
        assert net(torch.zeros(2, *input_shape)).shape == (2, 7)

    @pytest.mark.parametrize("name", SMALL)
    def test_weights_follow_from_the_seed(self, name: str) -> None:
        states = []
        for _ in range(2):
            torch.manual_seed(3)
            states.append(build(SMALL[name], (1, 16, 16), 4).state_dict())
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    def test_resnet8_is_that_of_mlperf_tiny(self) -> None:
        """The Keras model counts 78,666: with a bias for each normalised channel, and two statistics."""
        net = build(ResNet8("", 16), (3, 32, 32), 10)
        assert parameters(net) + 3 * norms(net) == 78_666

    def test_mobilenet_v1_is_the_published_one(self) -> None:
        assert parameters(build(MobileNetV1("", 1.0), (3, 224, 224), 1000)) == 4_231_976

    def test_ds_cnn_is_that_of_mlperf_tiny_but_for_the_first_kernel(self) -> None:
        """The Keras model counts 24,908, with biases and statistics as above, and 10×4 where this has 3×3."""
        net = build(DsCnn("", 64, 4), (1, 49, 10), 12)
        assert parameters(net) + 3 * norms(net) + 64 * (10 * 4 - 3 * 3) == 24_908

    def test_mlp_has_the_hidden_widths(self) -> None:
        net = build(Mlp("", (5, 3)), (1, 2, 2), 10)
        assert [m.out_features for m in net.modules() if isinstance(m, nn.Linear)] == [5, 3, 10]

    def test_mobilenet_v1_is_never_narrower_than_eight(self) -> None:
        net = build(MobileNetV1("", 0.01), (1, 32, 32), 10)
        assert {m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)} == {8, 10}

    @pytest.mark.parametrize(("side", "smallest"), [(32, 2), (96, 3), (224, 7)])
    def test_mobilenet_v1_leaves_more_than_a_pixel(self, side: int, smallest: int) -> None:
        net = build(MobileNetV1("", 0.25), (1, side, side), 10).eval()
        sizes: list[int] = []
        pool = next(m for m in net.modules() if isinstance(m, nn.AdaptiveAvgPool2d))
        pool.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[-1]))
        net(torch.zeros(1, 1, side, side))
        assert sizes == [smallest]


OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, input_shape, classes, width=3):
        super().__init__()
        if width < 0:
            raise ValueError("too thin")
        self.conv = nn.Conv2d(input_shape[0], width, 3)
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        return self.out(self.conv(x).mean((2, 3)))

class Flat(Own):
    def forward(self, x):
        return super().forward(x).sum(1)

class Failing(Own):
    def forward(self, x):
        return self.out(x)

def function(input_shape, classes):
    return "nothing"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with modules of the user's, current and importable; forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "own_net.py").write_text(OWN)
    (tmp_path / "broken_net.py").write_text("import torch\nvalue = 1 / 0\n")
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").touch()
    (tmp_path / "nets" / "inner.py").write_text("from own_net import Own\n\nclass Inner(Own):\n    pass\n")
    (tmp_path / "nets" / "whole.py").write_text(f"from nets.parts import Own\n\n{OWN}")
    (tmp_path / "nets" / "parts.py").write_text(OWN)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("own_net", "broken_net", "nets", "this"):
            del sys.modules[name]


@pytest.mark.usefixtures("project")
class TestCustom:
    def test_is_called_with_shape_classes_and_arguments(self) -> None:
        net = build(Custom("own_net.py", "own_net.Own", {"width": 5}), (2, 9, 9), 4)
        assert net(torch.zeros(3, 2, 9, 9)).shape == (3, 4)
        assert parameters(net) == 2 * 9 * 5 + 5 + 5 * 4 + 4
        assert net.training

    def test_comes_before_a_module_of_its_name_and_stands_in_for_no_other(self) -> None:
        Path("this.py").write_text(OWN)
        Path("statistics.py").write_text("raise RuntimeError")
        assert parameters(build(Custom("this.py", "this.Own", {}), (1, 9, 9), 4)) > 0
        found = PathFinder.find_spec("statistics"), PathFinder.find_spec("own_net")
        assert [Path(spec.origin).parent == Path.cwd() for spec in found] == [False, True]

    def test_may_be_spread_over_the_folder_that_is_its_source(self) -> None:
        build(Custom("nets", "nets.whole.Own"), (1, 9, 9), 4)

    @pytest.mark.parametrize(
        ("source", "target", "arguments", "message"),
        [
            (
                "own_net.py",
                "own_nett.Own",
                {},
                "own_nett.Own cannot be imported: ModuleNotFoundError: No module",
            ),
            (
                "own_net.py",
                "own_net.Onw",
                {},
                "own_net has no class Onw; expected one of: Own, Flat, Failing",
            ),
            (
                "broken_net.py",
                "broken_net.Own",
                {},
                "ZeroDivisionError: division by zero (broken_net.py, line 2)",
            ),
            ("own_net.py", "own_net.Own", {"wide": 1}, "unexpected keyword argument 'wide'"),
            ("own_net.py", "own_net.Own", {"width": -1}, "ValueError: too thin (own_net.py, line 9)"),
            ("own_net.py", "own_net.function", {}, "makes str; expected a torch.nn.Module"),
            (
                "own_net.py",
                "own_net.Flat",
                {},
                "gives (2,) for 2 inputs of shape (1, 9, 9); expected logits (2, 4)",
            ),
            (
                "own_net.py",
                "own_net.Failing",
                {},
                "cannot take inputs of shape (2, 1, 9, 9): RuntimeError",
            ),
            ("nets", "own_net.Own", {}, "own_net.py, where an edit would go unnoticed"),
            ("absent.py", "own_net.Own", {}, "own_net.py, where an edit would go unnoticed"),
            ("nets", "nets.inner.Inner", {}, "own_net.py, where an edit would go unnoticed"),
            ("nets/whole.py", "nets.whole.Own", {}, "parts.py, where an edit would go unnoticed"),
            ("own_net.py", "torch.nn.Linear", {}, "where an edit would go unnoticed"),
        ],
    )
    def test_mistakes_are_named(
        self, source: str, target: str, arguments: dict[str, int], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=re.escape(message)):
            build(Custom(source, target, arguments), (1, 9, 9), 4)
