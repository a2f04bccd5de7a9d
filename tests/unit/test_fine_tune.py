"""Fine-tuning: it never ends below where it began, whatever the network's inputs, its rate and its data."""

import math
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from edgepress.compress.prune import _network, _prune_at_once, prune
from edgepress.compress.quantisation import qat
from edgepress.compress.tuning.course import Course, Epoch
from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.judging import UNUSABLE, Score
from edgepress.compress.tuning.recalibrating import recalibrate
from edgepress.compress.tuning.steps import Batch, Training, suitable_rate
from edgepress.compress.tuning.suiting import compared, suited_data, suited_network
from edgepress.config.fine_tune import FineTune
from edgepress.config.model import Onnx
from edgepress.config.prune import Magnitude
from edgepress.config.quant import Int8Qat
from edgepress.config.train import Augment
from edgepress.datasets.prepared import UNKNOWN, Split
from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm, rescale_kernels
from edgepress.graph.imported.network import imported
from edgepress.graph.unfolding import layers_without_batchnorm
from edgepress.graph.view import copy, initializers, set_initializer
from edgepress.graph.weights import kernels, weight_statistics
from edgepress.measure.agreement import agreement, agreement_metrics
from edgepress.measure.inference import outputs_in_memory
from edgepress.translate.planning import make_plan
from tests.any_networks import taken
from tests.networks import (
    CLASSES,
    FORMATS,
    Graph,
    assert_close,
    fine_tuning,
    network,
    quantise,
    run_onnx,
    task,
    tensorflow,
    tuning,
)

tensorflow()

HEADER = "epoch,train_loss,validation_loss,validation_accuracy,kept\n"
RANGES = {
    "-123...26": (-123, 149 / 255),
    "0...255": (0, 1),
    "0...1e4": (0, 1e4 / 255),
    "0...1e-4": (0, 1e-4 / 255),
}
"""Ranges of inputs, as the offset and the factor that make them of `task`."""


def moved(split: Split, span: str) -> Split:
    offset, factor = RANGES[span]
    return Split((offset + factor * split.x).astype(np.float32), split.y)


@lru_cache
def unscaled(span: str) -> onnx.ModelProto:
    """A trained network that takes its inputs as they are, BatchNormalization folded."""
    graph = Graph(2, 8, 8)
    samples = moved(task(500, seed=9), span)

    def layer(source: str, inputs: int, outputs: int, size: int) -> str:
        kernel = graph.weights(outputs, inputs, size, size)
        made = graph.add("Conv", source, kernel, graph.weights(outputs))
        values = run_onnx(graph.model(made), samples.inputs())
        statistics = [values.mean((0, 2, 3)), values.var((0, 2, 3))]
        normed = graph.add(
            "BatchNormalization",
            made,
            graph.weights(outputs, low=0.5),
            0.3 * graph.weights(outputs),
            *statistics,
        )
        return graph.add("Relu", normed)

    last = layer(layer("input", 2, 12, 3), 12, 12, 3)
    x = run_onnx(graph.model(graph.add("Flatten", last)), samples.inputs())
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    wanted = 8 * np.eye(CLASSES)[samples.y]
    solution = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ wanted).astype(np.float32)
    graph.add("Gemm", graph.last, np.ascontiguousarray(solution[:-1].T), solution[-1], transB=1)
    return fold_batchnorm(graph.model())


def data_for(span: str, samples: int = 192, shift: int = 0) -> TuningData:
    train, validation = (moved(task(n, seed=seed), span) for n, seed in ((samples, 1), (128, 7)))
    return TuningData(train, validation, Augment(shift, False), seed=0)


def accuracy(model: onnx.ModelProto, split: Split) -> float:
    return compared(model, model, split).accuracy


def config(sparsity: float = 0.5, ramp: float = 0.6, **changes: Any) -> Magnitude:
    usual = {"epochs": 6, "batch_size": 32, "learning_rate": 0.0005}
    return Magnitude(sparsity, ramp, fine_tuning(**(usual | changes)))


def at_once(model: onnx.ModelProto, data: TuningData, sparsity: float) -> onnx.ModelProto:
    return prune(model, config(sparsity, epochs=0), data)


@pytest.mark.parametrize("span", RANGES)
def test_pruning_a_folded_network_of_any_range_of_inputs_costs_little(span):
    """Even with an augmentation that the network was not trained for, which is left out."""
    data, test = data_for(span, shift=2), moved(task(300, seed=3), span)
    before = accuracy(unscaled(span), test)
    assert before > 0.9
    assert accuracy(at_once(unscaled(span), data, 0.8), test) < before - 0.1
    pruned = prune(unscaled(span), config(0.8), data)
    assert accuracy(pruned, test) > before - 0.1
    assert pruned.graph.node == unscaled(span).graph.node
    for kernel in kernels(pruned):
        assert kernel.sparsity == pytest.approx(0.8, abs=1 / kernel.values.size)


def test_the_curve_tells_each_epoch_and_which_one_was_kept(capsys):
    data = data_for("-123...26", shift=2)
    pruned = prune(unscaled("-123...26"), config(0.8), data)
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("prune: fine-tunes")]
    assert "without train.augment" in line
    course = data.course
    assert [epoch.epoch for epoch in course.epochs] == [0, 1, 2, 3, 4, 5, 6]
    assert course.epochs[course.kept].validation_accuracy == pytest.approx(accuracy(pruned, data.validation))
    assert course.metrics()["fine_tuning"]["kept_epoch"] == course.kept > 1
    assert not course.metrics()["fine_tuning"]["augmented"]


@pytest.mark.parametrize("samples", [100, 20])
def test_fine_tuning_never_ends_below_the_compression_in_one_step(samples):
    """A rate that destroys the network, few samples of wrong classes, and zeros only at the very end."""
    data = data_for("0...255", samples)
    wrong = replace(data, train=replace(data.train, y=(data.train.y + 1) % CLASSES))
    model = unscaled("0...255")
    started = accuracy(at_once(model, data, 0.3), data.validation)
    pruned = prune(model, config(0.3, ramp=1.0, epochs=2, learning_rate=1.0), wrong)
    assert accuracy(pruned, data.validation) >= started > 0.5
    assert wrong.course.kept == 0
    for kernel in kernels(pruned):
        assert kernel.sparsity == pytest.approx(0.3, abs=1 / kernel.values.size)


def test_a_loss_that_is_no_number_ends_the_training_and_nothing_else(monkeypatch, capsys):
    data, model, steps = data_for("0...255"), unscaled("0...255"), []
    started = accuracy(at_once(model, data, 0.5), data.validation)
    step = Training.step

    def broken(self: Training, batch: Batch, rate: float) -> float:
        steps.append(rate)
        reached = step(self, batch, rate)
        return math.nan if len(steps) > 60 else reached

    monkeypatch.setattr(Training, "step", broken)
    pruned = prune(model, config(0.5, epochs=12), data)
    assert "prune: the loss became nan in epoch" in capsys.readouterr().out
    assert len(steps) == 61
    assert np.isfinite(run_onnx(pruned, data.validation.inputs())).all()
    assert accuracy(pruned, data.validation) >= started


def test_statistics_are_taken_anew_without_a_step_of_anything_else():
    """Masks, weights, and how far pruning has come; else the next masks would come too early."""
    model, data = unscaled("0...255"), data_for("0...255")
    suited = suited_network(model, make_plan(model), data, fine_tuning())
    _, tuned, last = _network(make_plan(suited.model), config(0.5), data)
    _prune_at_once(tuned, last)
    before = {variable.ref(): variable.numpy() for variable in tuned.variables}
    assert recalibrate(tuned, data.batches(32, 0))
    changed = [v.name for v in tuned.variables if not np.array_equal(before[v.ref()], v.numpy())]
    assert {name.rsplit("/", 1)[-1] for name in changed} == {"moving_mean:0", "moving_variance:0"}
    assert len(changed) == 4


class Slope:
    """Stands for a training whose steps all leave the loss that `losses` has for their rate."""

    def __init__(self, losses: dict[float, float], before: float) -> None:
        self.model, self.losses, self.before = SimpleNamespace(variables=[]), losses, before

    def loss(self, batch: Any) -> float:
        return self.before

    def step(self, batch: Any, rate: float) -> float:
        return self.losses[rate]

    def forget(self) -> None:
        pass


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        ({1.0: 1.5, 4.0: 1.4, 16.0: 1.39}, 4.0),
        ({1.0: 1.5, 4.0: 1.4, 16.0: 1.2}, 16.0),
        ({1.0: 1.5, 4.0: 1.6}, 1.0),
        ({1.0: 1.5, 4.0: math.nan}, 1.0),
        ({1.0: 0.09, 4.0: 0.01}, 1.0),
        ({1.0: 2.5, 0.25: 1.9, 4.0: 1.0}, 0.25),
        ({1.0: math.nan, 0.25: 2.5, 1 / 16: 1.9}, 1 / 16),
        (dict.fromkeys([4.0**-n for n in range(6)], 3.0), 4.0**-5),
    ],
)
def test_the_rate_is_the_one_that_lowers_the_loss_most(losses, rate):
    found = suitable_rate(Slope(losses, 2.0), [()] * 3, 1.0)
    assert (found.value, found.loss_before) == (rate, 2.0)


def test_a_network_that_has_lost_much_learns_faster():
    data = data_for("-123...26")
    prune(unscaled("-123...26"), config(0.9, epochs=17), data)
    assert data.course.learning_rate in (4 * 0.0005, 16 * 0.0005)


def test_a_rate_that_the_network_does_not_stand_is_lowered():
    data = tuning(128)
    prune(network(), config(epochs=1, learning_rate=10.0), data)
    assert 0 < data.course.learning_rate <= 10 / 4


@pytest.mark.parametrize("sparsity", [0.0, 0.001])
def test_a_compression_that_removes_nothing_changes_nothing(sparsity):
    data = tuning(64)
    assert prune(network(), config(sparsity), data) == network()
    assert data.course == Course()


def test_without_classes_the_uncompressed_network_is_what_is_right():
    model, data = unscaled("0...255"), data_for("0...255")
    nameless = replace(
        data,
        train=replace(data.train, y=np.full_like(data.train.y, UNKNOWN)),
        validation=replace(data.validation, y=np.full_like(data.validation.y, UNKNOWN)),
    )
    pruned = prune(model, config(0.7, epochs=2, distillation=1.0), nameless)
    agreement = compared(pruned, model, nameless.validation).accuracy
    assert nameless.course.epochs[nameless.course.kept].validation_accuracy == pytest.approx(agreement)
    assert agreement > compared(at_once(model, data, 0.7), model, nameless.validation).accuracy


def test_weights_that_are_no_numbers_are_refused_by_their_node():
    model = copy(network())
    name = next(node.input[1] for node in model.graph.node if node.name == "stem")
    set_initializer(model, name, initializers(model)[name] * np.nan)
    with pytest.raises(
        UnsupportedModelError, match=r"^prune: the weights of node 'stem' hold NaN or infinity"
    ):
        prune(model, config(), tuning(64))


class TestSuiting:
    @pytest.mark.parametrize("span", RANGES)
    def test_unfolded_networks_compute_the_same_and_fold_back(self, span):
        model, data = unscaled(span), data_for(span)
        suited = suited_network(model, make_plan(model), data, fine_tuning())
        assert len(suited.layers) == 2
        ops = [node.op_type for node in suited.model.graph.node]
        assert ops.count("BatchNormalization") == 2
        assert ops[0] == "Mul"
        inputs = data.validation.inputs()
        assert_close(run_onnx(suited.model, inputs), run_onnx(model, inputs), 1e-4)
        back = suited.folded(suited.model)
        assert back.graph.node == model.graph.node
        assert initializers(back).keys() == initializers(model).keys()
        for name, values in initializers(model).items():
            assert_close(initializers(back)[name], values, 1e-4)

    @pytest.mark.parametrize("factor", [2.0**-10, 2.0**10])
    def test_kernels_before_batchnorm_get_their_usual_size(self, factor):
        assert suited_network(network(), make_plan(network()), tuning(), fine_tuning()).model == network()
        unusual = rescale_kernels(network(), lambda kernel, axis: factor)
        model = suited_network(unusual, make_plan(unusual), tuning(), fine_tuning()).model
        inputs = task(50).inputs()
        for each in (unusual, model):
            assert_close(run_onnx(each, inputs), run_onnx(network(), inputs), 1e-4)
        sizes = [np.abs(kernel.values).max() for kernel in kernels(model)]
        usual = [np.abs(kernel.values).max() for kernel in kernels(network())]
        assert max(np.abs(np.log2(sizes) - np.log2(usual))) < 3
        assert model.graph.node == network().graph.node

    def test_signals_of_one_dimension_are_unfolded_too(self):
        graph = Graph(2, 8, 8)
        line = graph.add("Reshape", "input", np.array([0, 2, 64]))
        kernel = 0.3 * graph.weights(8, 2, 5)
        graph.add("Conv", line, kernel, graph.weights(8), strides=[2], name="line")
        graph.add("Gemm", graph.add("Flatten", graph.add("Relu")), graph.weights(CLASSES, 240), transB=1)
        model = imported(graph.model(), Onnx("net.onnx", "net.onnx"), (2, 8, 8), CLASSES).model
        suited = suited_network(model, make_plan(model), tuning(), fine_tuning())
        assert len(suited.layers) == 1
        inputs = task(9).inputs()
        assert_close(run_onnx(suited.model, inputs), run_onnx(model, inputs), 1e-4)

    @pytest.mark.parametrize("changes", [{"epochs": 0}, {"batch_size": 4}])
    def test_nothing_is_unfolded_without_training_or_statistics(self, changes):
        model, data = unscaled("0...255"), data_for("0...255")
        assert suited_network(model, make_plan(model), data, fine_tuning(**changes)).model is model

    def test_layers_that_are_normalised_or_the_last_are_left_alone(self):
        names = {kernel.initializer for kernel in kernels(network())}
        assert layers_without_batchnorm(network(), names) == []

    def test_augmentation_that_the_network_stands_is_kept(self):
        """Patterns of one value each, so that a move changes nothing."""
        flat = task(200, seed=4)
        even = replace(flat, x=np.broadcast_to(flat.x.mean((2, 3), keepdims=True), flat.x.shape))
        data = replace(tuning(64), validation=even, augment=Augment(2, True))
        fitting = suited_data(network(), make_plan(network()), data, fine_tuning(), "prune")
        assert fitting.augment == data.augment

    def test_a_teacher_alone_says_what_is_right_of_augmented_inputs_too(self):
        data = data_for("0...255", shift=2)
        model = unscaled("0...255")
        fitting = suited_data(model, make_plan(model), data, fine_tuning(distillation=1.0), "prune")
        assert fitting.augment == data.augment


class TestQuantisationAwareTraining:
    QAT = Int8Qat(True, 0.99, FORMATS["int8"].calibration, fine_tuning(epochs=1))

    def test_what_training_made_worse_gives_way_to_calibration(self, monkeypatch, capsys):
        def ruin(model: Any, *_: Any, **__: Any) -> None:
            for variable in model.trainable_variables:
                variable.assign(0.5 * variable + 0.3)

        data = tuning()
        after = quantise(network(), FORMATS["int8"])
        monkeypatch.setattr(qat, "fine_tune", ruin)
        result = quantise(network(), self.QAT, tuning=lambda: data)
        assert result == after
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("training in int8 ended at accuracy 0.")
        assert "keeps the calibrated network" in line
        assert data.course.kept_calibrated

    def test_a_destructive_rate_ends_as_calibration_does_and_says_so(self, capsys):
        data = tuning()
        wrong = replace(data, train=replace(data.train, y=(data.train.y + 1) % CLASSES))
        rough = replace(self.QAT, fine_tune=fine_tuning(epochs=1, learning_rate=0.5))
        trained, after = (
            quantise(network(), rough, tuning=lambda: wrong),
            quantise(network(), FORMATS["int8"]),
        )
        assert trained == after
        assert accuracy(after, data.validation) > 0.5
        assert "no epoch of training in int8 was better" in capsys.readouterr().out
        assert wrong.course.kept_calibrated


def test_scores_are_by_accuracy_then_by_loss():
    assert Score(0.9, 2.0).beats(Score(0.8, 1.0))
    assert Score(0.9, 1.0).beats(Score(0.9, 2.0))
    assert not Score(0.9, 1.0).beats(Score(0.9, 1.0))
    assert not UNUSABLE.beats(Score(0.0, 5.0))


def test_a_course_as_csv():
    assert Course().csv().decode() == HEADER
    assert Course().metrics() == {}
    course = Course([Epoch(0, 2.0, 1.5, 0.25), Epoch(1, 1.0, 1.25, 0.5)], kept=1)
    assert course.csv().decode() == f"{HEADER}0,2.0,1.5,0.25,0\n1,1.0,1.25,0.5,1\n"


class TestAnyOutputs:
    """Networks that give no classes teach themselves all of their outputs."""

    @staticmethod
    def data(name: str) -> tuple[onnx.ModelProto, TuningData]:
        network, samples = taken(name)
        parts = (samples[:80], samples[80:])
        splits = [Split(np.zeros((len(each), 0)), np.full(len(each), -1), each.arrays) for each in parts]
        return network.model, TuningData(*splits, Augment(2, True), 0)

    @pytest.mark.parametrize("name", ["two inputs", "detection heads"])
    def test_fine_tuning_brings_each_output_back(self, name: str) -> None:
        model, data = self.data(name)
        teaching = FineTune(4, 16, 0.005, 1.0, 4.0)
        ratios = []
        for epochs in (0, 4):
            pruned = prune(model, Magnitude(0.5, 0.5, replace(teaching, epochs=epochs)), data)
            found, known = (outputs_in_memory(each, data.validation.samples(), 1) for each in (pruned, model))
            ratios.append(agreement_metrics(agreement(found.outputs, known.outputs, known.samples)))
        assert ratios[1]["min_snr_db"] > ratios[0]["min_snr_db"] + 1
        assert not data.augments

    def test_without_a_teacher_there_is_nothing_to_learn(self) -> None:
        model, data = self.data("detection heads")
        with pytest.raises(ConfigError, match=r"the network gives no classes to learn; expected 0, or"):
            prune(model, Magnitude(0.5, 0.5, FineTune(1, 16, 0.005, 0.0, 4.0)), data)

    def test_a_batch_that_is_built_in_cannot_be_trained_in_batches(self) -> None:
        model, data = self.data("a state")
        with pytest.raises(UnsupportedModelError, match=r"has its batch built in \(frame\), .*epochs=0"):
            prune(model, Magnitude(0.5, 0.5, FineTune(1, 16, 0.005, 1.0, 4.0)), data)
        pruned = prune(model, Magnitude(0.5, 0.5, FineTune(0, 16, 0.005, 1.0, 4.0)), data)
        assert weight_statistics(pruned).sparsity == pytest.approx(0.5, abs=0.02)
