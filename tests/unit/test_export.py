"""Export of PyTorch networks to ONNX."""

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgepress.architectures.registry import build
from edgepress.config.model import DsCnn, Mlp, MobileNetV1, ModelConfig, ResNet8
from edgepress.errors import UnsupportedModelError
from edgepress.training.export import export
from edgepress.training.normalised import Normalised
from tests.networks import run_onnx

SHAPE = (3, 16, 16)
BUILT_IN: dict[str, ModelConfig] = {
    "resnet8": ResNet8("", 4),
    "mobilenet_v1": MobileNetV1("", 0.25),
    "ds_cnn": DsCnn("", 8, 2),
    "mlp": Mlp("", (8, 6)),
}
ALLOWED = {
    *("Sub", "Mul", "Conv", "BatchNormalization", "Relu"),
    *("Add", "GlobalAveragePool", "Flatten", "Gemm"),
}


def fresh(config: ModelConfig) -> nn.Module:
    """A normalised network whose BatchNormalization statistics are not the initial ones."""
    torch.manual_seed(0)
    net = Normalised(build(config, SHAPE, 5), [100.0, 110.0, 120.0], [50.0, 60.0, 70.0])
    with torch.no_grad():
        for _ in range(3):
            net.train()(images(8))
    return net


def images(samples: int) -> torch.Tensor:
    return torch.randint(0, 256, (samples, *SHAPE), generator=torch.manual_seed(1)).float()


def run(model: onnx.ModelProto, x: torch.Tensor) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": x.numpy()})[0])


def assert_same(net: nn.Module, model: onnx.ModelProto, samples: int = 7) -> None:
    with torch.no_grad():
        expected = net.eval()(images(samples)).numpy()
    assert np.ptp(expected, axis=0).all()
    np.testing.assert_allclose(run(model, images(samples)), expected, rtol=1e-3, atol=1e-4)


def assert_no_origin(model: onnx.ModelProto) -> None:
    graph = model.graph
    assert not model.producer_version
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        assert not part.doc_string
        assert not part.metadata_props


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.fixture(scope="module", params=BUILT_IN)
def exported(request: pytest.FixtureRequest) -> tuple[nn.Module, onnx.ModelProto]:
    net = fresh(BUILT_IN[request.param])
    return net, export(net, SHAPE)


class TestBuiltIn:
    @pytest.mark.parametrize("samples", [1, 2, 7])
    def test_computes_the_same_for_any_batch(
        self, exported: tuple[nn.Module, onnx.ModelProto], samples: int
    ) -> None:
        net, model = exported
        with torch.no_grad():
            expected = net(images(samples)).numpy()
        np.testing.assert_allclose(run(model, images(samples)), expected, rtol=1e-3, atol=1e-4)

    def test_ends(self, exported: tuple[nn.Module, onnx.ModelProto]) -> None:
        (entry,), (output,) = exported[1].graph.input, exported[1].graph.output
        for end, name, sizes in ((entry, "input", ["batch", *SHAPE]), (output, "logits", ["batch", 5])):
            assert end.name == name
            assert end.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
            assert [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim] == sizes

    def test_versions_that_every_converter_and_runtime_takes(
        self, exported: tuple[nn.Module, onnx.ModelProto]
    ) -> None:
        assert [(domain.domain, domain.version) for domain in exported[1].opset_import] == [("", 15)]
        assert exported[1].ir_version <= 10

    def test_few_operators_and_batch_normalization_among_them(
        self, exported: tuple[nn.Module, onnx.ModelProto]
    ) -> None:
        found = operators(exported[1])
        assert found.keys() <= ALLOWED
        assert found["BatchNormalization"] == sum(
            isinstance(m, nn.BatchNorm2d) for m in exported[0].modules()
        )

    def test_initializers_are_the_state_dict(self, exported: tuple[nn.Module, onnx.ModelProto]) -> None:
        state = {k: v for k, v in exported[0].state_dict().items() if not k.endswith("num_batches_tracked")}
        values = {t.name: onnx.numpy_helper.to_array(t) for t in exported[1].graph.initializer}
        assert values.keys() == state.keys()
        for name, value in values.items():
            np.testing.assert_array_equal(value, state[name].numpy())

    def test_nodes_are_named_after_their_modules(self, exported: tuple[nn.Module, onnx.ModelProto]) -> None:
        names = [node.name for node in exported[1].graph.node]
        assert len(set(names)) == len(names)
        modules = dict(exported[0].named_modules())
        for node in exported[1].graph.node:
            assert node.name.removesuffix(f".{node.op_type}") in {*modules, node.op_type}

    def test_says_nothing_of_where_it_was_made(self, exported: tuple[nn.Module, onnx.ModelProto]) -> None:
        assert_no_origin(exported[1])

    def test_every_tensor_has_a_shape(self, exported: tuple[nn.Module, onnx.ModelProto]) -> None:
        graph = exported[1].graph
        known = {value.name for value in (*graph.value_info, *graph.output)}
        assert {name for node in graph.node for name in node.output} == known


EXPORT = """
import hashlib, torch
from edgepress.architectures.registry import build
from edgepress.config.model import ResNet8
from edgepress.training.export import export
torch.manual_seed(0)
model = export(build(ResNet8("", 4), (3, 16, 16), 5), (3, 16, 16))
print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_silent_and_bit_identical_in_another_process(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-W", "default", "-c", EXPORT]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True)
    exec(EXPORT, {})
    here = capfd.readouterr()
    assert (here.err, elsewhere.stderr) == ("", "")
    assert here.out == elsewhere.stdout
    assert len(here.out) == 65


def test_log_and_warnings_are_heard_again_afterwards() -> None:
    export(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), SHAPE)
    assert logging.root.manager.disable == logging.NOTSET
    with pytest.warns(UserWarning, match="still heard"):
        __import__("warnings").warn("still heard", stacklevel=1)


class Own(nn.Module):
    """A network whose forward pass is a given function of a convolution's output and a dense layer."""

    def __init__(self, forward: Callable[..., torch.Tensor], channels: int = 4, features: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.dense = nn.Linear(features, 5)
        self._forward = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward(self, x)


def shuffled(net: Own, x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = (y := net.conv(x / 255)).shape
    y = y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
    return net.dense(y.abs().amax((2, 3)))


class TestOwnNetworks:
    @pytest.mark.parametrize(
        ("forward", "expected"),
        [
            (
                lambda net, x: net.dense(net.conv(x).mean((2, 3))),
                ["Conv", "GlobalAveragePool", "Flatten", "Gemm"],
            ),
            (
                lambda net, x: net.dense(net.conv(x).mean((-1, -2), keepdim=True).view(x.shape[0], -1)),
                ["Conv", "GlobalAveragePool", "Flatten", "Gemm"],
            ),
            (
                lambda net, x: net.dense(net.conv(x).mean(3).mean(2)),
                ["Conv", "ReduceMean", "ReduceMean", "Gemm"],
            ),
            (
                shuffled,
                ["Div", "Conv", "Reshape", "Transpose", "Reshape", "Abs", "ReduceMax", "Gemm"],
            ),
        ],
    )
    def test_graph_is_what_one_would_draw(
        self, forward: Callable[..., torch.Tensor], expected: list[str]
    ) -> None:
        torch.manual_seed(0)
        net = Own(forward)
        model = export(net, SHAPE)
        assert [node.op_type for node in model.graph.node] == expected
        assert model.opset_import[0].version == 15
        assert_same(net, model)

    def test_pad_and_resize_come_down_to_opset_15(self) -> None:
        torch.manual_seed(0)
        layers = (
            nn.Conv2d(3, 4, 3),
            nn.ZeroPad2d(1),
            nn.Upsample(scale_factor=2),
            nn.Hardswish(),
            nn.MaxPool2d(4),
        )
        net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 8 * 8, 5))
        model = export(net, SHAPE)
        assert {"Pad", "Resize"} <= operators(model).keys()
        assert model.opset_import[0].version == 15
        assert_same(net, model)

    def test_what_opset_15_lacks_stays_newer(self) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.LayerNorm(768), nn.Linear(768, 5))
        model = export(net, SHAPE)
        assert operators(model)["LayerNormalization"] == 1
        assert model.opset_import[0].version == 18
        assert_no_origin(model)
        assert_same(net, model)

    def test_constants_of_the_exporters_own_functions_are_folded(self) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))
        model = export(net, SHAPE)
        assert not operators(model).keys() & {"Constant", "CastLike", "Cast", "Expand", "Identity"}
        assert_same(net, model)

    def test_a_zero_bias_of_the_networks_own_stays(self) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))
        nn.init.zeros_(net[0].bias)  # type: ignore[arg-type]
        model = export(net, SHAPE)
        assert "0.bias" in model.graph.node[0].input
        assert_same(net, model)

    def test_names_do_not_clash_with_those_of_parameters(self) -> None:
        """A parameter may be called as a tensor would be."""
        torch.manual_seed(0)

        class Clash(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.Mul = nn.Parameter(torch.rand(SHAPE))
                self.input = nn.Parameter(torch.rand(SHAPE))
                self.dense = nn.Linear(768, 5)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                logits: torch.Tensor = self.dense((x * self.Mul + self.input).flatten(1))
                return logits

        net = Clash()
        assert_same(net, export(net, SHAPE))

    def test_dropout_is_gone_and_evaluation_mode_exported(self) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(768, 5)).train()
        model = export(net, SHAPE)
        assert operators(model) == {"Flatten": 1, "Gemm": 1}
        assert_same(net, model)

    def test_a_layer_that_is_used_twice_has_its_weights_twice(self) -> None:
        net = Own(lambda net, x: net.dense(net.again(net.again(net.conv(x))).mean((2, 3))))
        net.again = nn.Conv2d(4, 4, 3, padding=1)
        model = export(net, SHAPE)
        kernels = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
        assert len(set(kernels)) == 3
        inputs = torch.rand(2, *SHAPE)
        expected = net(inputs).detach().numpy()
        np.testing.assert_allclose(run_onnx(model, inputs.numpy()), expected, rtol=1e-4, atol=1e-5)

    def test_control_flow_on_data_is_refused(self) -> None:
        net = Own(lambda net, x: net.dense(net.conv(x if x.sum() > 0 else -x).mean((2, 3))))
        with pytest.raises(
            UnsupportedModelError, match="cannot be exported to ONNX: GuardOnDataDependentSymNode"
        ):
            export(net, SHAPE)

    def test_a_fixed_batch_size_is_refused(self) -> None:
        net = Own(lambda net, x: net.dense(net.conv(x).mean((2, 3)).reshape(2, 4)))
        with pytest.raises(UnsupportedModelError, match="expected the batch size to stay free"):
            export(net, SHAPE)
