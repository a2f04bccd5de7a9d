"""What every quantiser must do: QuantiserContract, run for each quantiser of the registry."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.load import Off
from edgepress.config.quant import CHOICES
from edgepress.graph.formats import number_format
from edgepress.graph.weights import kernels
from tests.compressed import ALL_FORMATS, quantised
from tests.networks import (
    TEST,
    Graph,
    fine_tuning,
    fitted,
    network,
    run_onnx,
    score,
    task,
    tensorflow,
    tuning,
)


def without_convolutions() -> onnx.ModelProto:
    """An MLP for the task, with BatchNormalization between its dense layers."""
    graph = Graph(2, 8, 8)
    flat = graph.add("Flatten", graph.add("Mul", "input", np.float32(0.01)))
    hidden = graph.batchnorm(graph.add("Gemm", flat, 0.3 * graph.weights(128, 32)), 32)
    return fitted(graph, graph.add("Relu", hidden))


def quickly(config: Any) -> Any:
    """The configuration with one epoch of fine-tuning, where it fine-tunes."""
    changes = {"fine_tune": fine_tuning(epochs=1)} if hasattr(config, "fine_tune") else {}
    return type(config)(**(vars(config) | changes))


class QuantiserContract:
    choice: str
    reads: tuple[str, ...] = ()
    number_format = "int8"
    loss = 0.03

    @pytest.fixture
    def sources(self) -> tuple[Sources, list[str]]:
        """Sources, and what was fetched from them."""
        tensorflow()
        fetched: list[str] = []

        def calibration(samples: int) -> np.ndarray:
            fetched.append("calibration")
            return task(samples, seed=5).inputs()

        def training() -> Any:
            fetched.append("tuning")
            return tuning()

        return Sources(calibration, training, 0), fetched

    def test_the_result_has_the_format_and_works(self):
        model = quantised(self.choice)
        onnx.checker.check_model(model, full_check=True)
        assert number_format(model) == self.number_format
        assert score(model) > score(network()) - self.loss

    def test_ends_and_kernels_are_those_of_the_network(self):
        model = quantised(self.choice)
        assert model.graph.input == network().graph.input
        assert model.graph.output == network().graph.output
        assert [k.values.size for k in kernels(model)] == [k.values.size for k in kernels(network())]

    def test_batch_normalisation_is_folded(self):
        assert all(node.op_type != "BatchNormalization" for node in quantised(self.choice).graph.node)

    def test_any_batch_size_will_do(self):
        model = quantised(self.choice)
        outputs = run_onnx(model, TEST.inputs(slice(8)))
        halves = [run_onnx(model, TEST.inputs(slice(start, start + 4))) for start in (0, 4)]
        tolerance = 0.1 if self.choice == "dynamic" else 1e-5  # there, a batch shares its range
        np.testing.assert_allclose(outputs, np.concatenate(halves), atol=tolerance * np.abs(outputs).max())

    def test_only_what_is_needed_is_fetched_and_nothing_is_changed(self, sources):
        given, fetched = sources
        model, config = network(), quickly(ALL_FORMATS[self.choice])
        quantiser(config)(model, config, given)
        assert fetched == list(self.reads)
        assert model == network()

    def test_networks_without_convolutions(self, sources):
        model, config = without_convolutions(), quickly(ALL_FORMATS[self.choice])
        result = quantiser(config)(model, config, sources[0])
        assert score(model) > 0.8
        assert score(result) > score(model) - self.loss


class TestFp16(QuantiserContract):
    choice = "fp16"
    number_format = "fp16"


class TestDynamic(QuantiserContract):
    choice = "dynamic"
    number_format = "dynamic"


class TestInt8(QuantiserContract):
    choice = "int8"
    reads = ("calibration",)


class TestInt8Qat(QuantiserContract):
    choice = "int8_qat"
    reads = ("calibration", "tuning")


class TestInt16x8(QuantiserContract):
    choice = "int16x8"
    reads = ("calibration",)
    number_format = "int16x8"


class TestInt8Weights(QuantiserContract):
    choice = "int8_weights"
    number_format = "int8_weights"


class TestInt4Weights(QuantiserContract):
    choice = "int4_weights"
    reads = ("calibration",)
    number_format = "int4_weights"
    loss = 0.05


def test_every_quantiser_has_its_contract():
    choices = {name for name, config in CHOICES.items() if config is not Off}
    assert {contract.choice for contract in QuantiserContract.__subclasses__()} == choices
