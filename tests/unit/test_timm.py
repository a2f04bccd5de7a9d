"""The networks of timm and torchvision, for any channels and classes, with weights of several origins."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.architectures.registry import build, input_scaling
from edgepress.config.model import Timm, untrained
from edgepress.errors import ConfigError
from tests.zoo.networks import import_torchvision

DECLARED = Path(__file__).parents[1] / "torchvision_declared"
SMALL = {"timm": "mobilenetv3_small_050", "torchvision": "shufflenet_v2_x0_5"}

import_torchvision()


def chosen(name: str, pretrained: bool = False, weights: Path | None = None) -> Timm:
    path = None if weights is None else str(weights)
    return Timm(source=path or "", name=name, pretrained=pretrained, weights=path)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "library"),
        [
            ("mobilenetv3_small_050", "timm"),
            ("mobilenetv3_small_050.lamb_in1k", "timm"),
            ("timm/resnet18", "timm"),
            ("resnet18", "timm"),
            ("torchvision/resnet18", "torchvision"),
            ("shufflenet_v2_x0_5", "torchvision"),
            ("googlenet", "torchvision"),
        ],
    )
    def test_are_looked_for_in_timm_first(self, name: str, library: str) -> None:
        assert type(build(chosen(name), (3, 64, 64), 3)).__module__.startswith(f"{library}.")

    def test_unknown_ones_are_refused_with_those_close(self) -> None:
        with pytest.raises(ConfigError, match="close to it: mobilenetv3_small_050"):
            build(chosen("mobilenetv3_smal_050"), (3, 32, 32), 10)

    def test_an_image_that_a_network_cannot_take_is_told(self) -> None:
        with pytest.raises(ConfigError, match=r"torchvision/vit_b_16 cannot take .* Wrong image height"):
            build(chosen("torchvision/vit_b_16"), (3, 32, 32), 10)

    @pytest.mark.parametrize("absent", ["timm", "torchvision"])
    def test_a_missing_extra_is_one_line_with_the_command(
        self, absent: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in [name for name in sys.modules if name.split(".")[0] == absent]:
            monkeypatch.setitem(sys.modules, module, None)
        expected = (
            rf"^model=timm needs {absent}[.\w]*, which is not installed; install it with: pip install -e "
        )
        with pytest.raises(ConfigError, match=expected + re.escape("'.[timm]'")):
            build(chosen("shufflenet_v2_x0_5"), (3, 32, 32), 10)


class TestForm:
    @pytest.mark.parametrize("name", SMALL.values())
    @pytest.mark.parametrize("shape", [(1, 32, 32), (3, 48, 40), (5, 32, 32)])
    def test_any_channels_and_classes(self, name: str, shape: tuple[int, ...]) -> None:
        net = build(chosen(name), shape, 7).eval()
        assert net(torch.rand(2, *shape)).shape == (2, 7)

    @pytest.mark.parametrize("name", SMALL.values())
    def test_weights_follow_from_the_seed(self, name: str) -> None:
        states = []
        for _ in range(2):
            torch.manual_seed(3)
            states.append(build(chosen(name), (1, 32, 32), 4).state_dict())
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.fixture
def trained(tmp_path: Path) -> dict[str, tuple[Path, dict[str, torch.Tensor]]]:
    """For each library a file of weights, for three channels and 1000 classes, and what is in it."""
    from safetensors.torch import save_file

    made = {}
    for library, name in SMALL.items():
        torch.manual_seed(5)
        state = build(chosen(name), (3, 32, 32), 1000).state_dict()
        if library == "timm":
            path = tmp_path / "weights.safetensors"
            save_file(state, path)
        else:
            path = tmp_path / "weights.pth"
            torch.save({"state_dict": state}, path)
        made[library] = (path, state)
    return made


class TestWeights:
    @pytest.mark.parametrize("library", SMALL)
    def test_of_a_file_are_taken_as_they_are(self, library: str, trained: dict[str, Any]) -> None:
        path, state = trained[library]
        net = build(chosen(SMALL[library], weights=path), (3, 32, 32), 1000)
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())

    @pytest.mark.parametrize("library", SMALL)
    def test_first_and_last_layer_are_fitted(self, library: str, trained: dict[str, Any]) -> None:
        path, state = trained[library]
        net = build(chosen(SMALL[library], weights=path), (1, 32, 32), 5)
        other = [key for key, value in net.state_dict().items() if value.shape != state[key].shape]
        stem, *head = other
        assert [key.split(".")[0] for key in head] in (["classifier"] * 2, ["fc"] * 2)
        assert torch.allclose(net.state_dict()[stem], state[stem].sum(dim=1, keepdim=True))
        same = [key for key in state if key not in other]
        assert all(torch.equal(net.state_dict()[key], state[key]) for key in same)

    def test_of_another_network_are_refused(self, trained: dict[str, Any]) -> None:
        path, _ = trained["torchvision"]
        with pytest.raises(
            ConfigError, match=r"weights\.pth are not those of mobilenetv3_small_050 .*name the network"
        ):
            build(chosen("mobilenetv3_small_050", weights=path), (3, 32, 32), 10)

    def test_code_in_a_file_is_not_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "ran"),)

        torch.save({"x": Evil()}, tmp_path / "evil.pth")
        with pytest.raises(ConfigError, match=r"evil\.pth', which holds no weights .*expected a state dict"):
            build(chosen("mobilenetv3_small_050", weights=tmp_path / "evil.pth"), (3, 32, 32), 10)
        assert not (tmp_path / "ran").exists()

    def test_of_no_file(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.weights is 'none\.pth', which is no file"):
            build(chosen("mobilenetv3_small_050", weights=Path("none.pth")), (3, 32, 32), 10)

    def test_an_unwatched_file_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"source is 'a\.py'; expected 'w\.pth', the weights, so"):
            Timm(source="a.py", name="resnet18", pretrained=False, weights="w.pth")

    def test_none_are_needed_to_load_trained_ones_into(self) -> None:
        assert untrained(chosen("resnet18", True)) == chosen("resnet18")


class TestScaling:
    def test_is_the_datas_own_for_random_weights(self) -> None:
        assert input_scaling(chosen("resnet18"), (5.0,), (2.0,), (0, 255)) == ((5.0,), (2.0,))

    @pytest.mark.parametrize("name", ["resnet18.tv_in1k", "torchvision/resnet18"])
    def test_is_that_of_the_weights_in_the_datas_range(self, name: str) -> None:
        mean, std = input_scaling(chosen(name, pretrained=True), (0.0,) * 3, (1.0,) * 3, (-1, 1))
        np.testing.assert_allclose(mean, 2 * np.array([0.485, 0.456, 0.406]) - 1)
        np.testing.assert_allclose(std, 2 * np.array([0.229, 0.224, 0.225]))
        grey, _ = input_scaling(chosen(name, pretrained=True), (0.0,), (1.0,), (0, 255))
        np.testing.assert_allclose(grey, [255 * (0.485 + 0.456 + 0.406) / 3])


class Hub(BaseHTTPRequestHandler):
    """The part of the model hub that a download of one file asks for."""

    content = b""
    asked: list[str] = []  # noqa: RUF012, one server at a time

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        self.asked.append(self.path)
        found = self.path.endswith("/resolve/main/model.safetensors")
        self.send_response(200 if found else 404)
        for key, value in {"ETag": '"1"', "X-Repo-Commit": "0" * 40}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        if found and with_content:
            self.wfile.write(self.content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


BUILD = """
import sys
import torch
from edgepress.architectures.registry import build
from edgepress.boundary import run_stage
from edgepress.config.model import Timm

def main():
    net = build(Timm("", sys.argv[1], True, None), (1, 32, 32), 5)
    torch.save(net.state_dict(), sys.argv[2])

run_stage(main)
"""


class TestDownload:
    def test_of_timm_comes_from_the_hub(self, hub: str, trained: dict[str, Any], tmp_path: Path) -> None:
        path, state = trained["timm"]
        Hub.content = path.read_bytes()
        _run("mobilenetv3_small_050", tmp_path, HF_ENDPOINT=hub)
        assert any("timm/mobilenetv3_small_050" in asked for asked in Hub.asked)
        loaded = torch.load(tmp_path / "out.pth", weights_only=True)
        assert torch.allclose(loaded["conv_stem.weight"], state["conv_stem.weight"].sum(1, keepdim=True))
        assert loaded["classifier.weight"].shape[0] == 5
        assert torch.equal(loaded["conv_head.weight"], state["conv_head.weight"])

    def test_of_a_network_for_one_size_are_fitted_to_the_images(self, hub: str, tmp_path: Path) -> None:
        import timm
        from safetensors.torch import save

        state = timm.create_model("vit_tiny_patch16_224").state_dict()
        Hub.content = save(state)
        _run("vit_tiny_patch16_224", tmp_path, HF_ENDPOINT=hub)
        loaded = torch.load(tmp_path / "out.pth", weights_only=True)
        assert loaded["pos_embed"].shape == (1, 1 + 2 * 2, 192)
        assert torch.equal(loaded["blocks.0.mlp.fc1.weight"], state["blocks.0.mlp.fc1.weight"])

    def test_of_torchvision_comes_from_its_cache(self, trained: dict[str, Any], tmp_path: Path) -> None:
        import torchvision.models

        _, state = trained["torchvision"]
        url = torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.url
        cached = tmp_path / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
        cached.parent.mkdir(parents=True)
        torch.save(state, cached)
        _run("shufflenet_v2_x0_5", tmp_path, TORCH_HOME=str(tmp_path / "torch"))
        loaded = torch.load(tmp_path / "out.pth", weights_only=True)
        assert torch.equal(loaded["conv5.0.weight"], state["conv5.0.weight"])

    def test_that_fails_is_one_line_with_what_works_without(self, tmp_path: Path) -> None:
        done = _run("mobilenetv3_small_050", tmp_path, check=False, HF_HUB_OFFLINE="1")
        assert done.returncode == 1
        line = done.stderr.splitlines()[-1]
        assert line.startswith("error: model.pretrained is true, but the weights of mobilenetv3_small_050 ")
        assert line.endswith("-S model.weights=FILE, or go without: -S model.pretrained=false")


def _run(
    name: str, folder: Path, check: bool = True, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Build a pretrained network in a process that has no weights yet, and save it to `out.pth`."""
    root = Path(__file__).parents[2]
    paths = {"PYTHONPATH": f"{root}{os.pathsep}{DECLARED}", "HF_HOME": str(folder / "hub")}
    command = [sys.executable, "-W", "ignore", "-c", BUILD, name, str(folder / "out.pth")]
    done = subprocess.run(command, env={**os.environ, **paths, **environment}, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done
