"""The training loop, the normalised network, and its checkpoint."""

import csv
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.artifacts import read_bytes
from edgepress.config.load import Runtime
from edgepress.config.train import Augment, Train
from edgepress.datasets.prepared import Split
from edgepress.errors import ArtifactError, TrainingError
from edgepress.training.checkpoint import load_weights, save_weights
from edgepress.training.loop import (
    Epoch,
    TrainResult,
    batch_bounds,
    predict,
    prefer_channels_last,
    prepare_torch,
    train,
)
from edgepress.training.normalised import Normalised
from edgepress.training.record import train_metrics, write_curve

CONFIG = Train(6, 16, 0.02, 0.0001, 10, Augment(1, False))


def network() -> nn.Module:
    layers = (nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return Normalised(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 2)), [100.0], [60.0])


def stripes(samples: int, seed: int) -> Split:
    """Noisy images (N, 1, 8, 8) of upright (class 0) and level (class 1) stripes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, samples)
    upright = np.tile(np.array([0, 200]), (8, 4))
    pattern = np.where(y[:, None, None] == 0, upright, upright.T)[:, None]
    return Split((pattern + rng.integers(0, 50, (samples, 1, 8, 8))).astype(np.uint8), y)


def trained(config: Train = CONFIG, seed: int = 0) -> TrainResult:
    prepare_torch(Runtime(seed, 1))
    return train(network(), stripes(65, 0), stripes(40, 1), config, seed)


class TestTrain:
    def test_learns(self) -> None:
        result = trained()
        assert result.curve[0].train_loss > result.best.train_loss
        assert result.best.validation_accuracy > 0.9
        assert [epoch.epoch for epoch in result.curve] == [1, 2, 3, 4, 5, 6]

    def test_repeats_bit_for_bit_at_one_seed_only(self) -> None:
        one, same, other = trained(), trained(), trained(seed=1)
        assert one.curve == same.curve
        assert one.curve != other.curve
        for key, value in one.net.state_dict().items():
            assert torch.equal(value, same.net.state_dict()[key])

    def test_stops_early_and_keeps_the_best_weights(self) -> None:
        """At this learning rate the loss jumps about, so the last epoch is not the best."""
        result = trained(Train(40, 16, 0.5, 0.0, 3, Augment(0, False)))
        assert len(result.curve) == result.best.epoch + 3 < 40
        assert result.best.validation_loss == min(epoch.validation_loss for epoch in result.curve)
        validation = stripes(40, 1)
        logits = torch.from_numpy(predict(result.net, validation))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(validation.y))
        assert float(loss) == result.best.validation_loss

    def test_the_learning_rate_falls_to_zero_along_a_cosine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rates: list[float] = []
        step = torch.optim.AdamW.step

        def recorded(self: torch.optim.AdamW, *args: object) -> object:
            rates.append(self.param_groups[0]["lr"])
            return step(self, *args)

        monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
        trained()
        steps = 6 * 4  # the fifth batch of each epoch would hold a single sample
        expected = [0.01 * (1 + math.cos(math.pi * i / steps)) for i in range(steps)]
        np.testing.assert_allclose(rates, expected, rtol=1e-9)

    def test_divergence_names_epoch_and_remedy(self) -> None:
        with pytest.raises(TrainingError, match=r"_loss is \w+ in epoch \d+; .* Lower train.learning_rate"):
            trained(Train(6, 16, 10, 10, 10, Augment(0, False)))

    def test_inputs_that_are_not_numbers_are_noticed(self) -> None:
        prepare_torch(Runtime(0, 1))
        split = stripes(40, 0)
        broken = Split(np.where(split.x > 220, np.nan, split.x).astype(np.float32), split.y)
        with pytest.raises(TrainingError, match="train_loss is nan in epoch 1; expected a finite number"):
            train(network(), broken, split, CONFIG, 0)

    def test_reads_a_memory_mapped_split(self, tmp_path: Path) -> None:
        for name, array in (("x", stripes(33, 0).x), ("y", stripes(33, 0).y)):
            np.save(tmp_path / f"{name}.npy", array)
        mapped = Split(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"))
        prepare_torch(Runtime(0, 1))
        assert len(train(network(), mapped, mapped, CONFIG, 0).curve) == 6


@pytest.mark.parametrize(
    ("samples", "size", "bounds"),
    [(6, 3, [(0, 3), (3, 6)]), (7, 3, [(0, 3), (3, 6)]), (8, 3, [(0, 3), (3, 6), (6, 8)]), (2, 9, [(0, 2)])],
)
def test_batches_leave_out_a_single_last_sample(
    samples: int, size: int, bounds: list[tuple[int, int]]
) -> None:
    assert list(batch_bounds(samples, size)) == bounds


class TestNormalised:
    def test_normalises_each_channel(self) -> None:
        net = Normalised(nn.Identity(), [10.0, 20.0], [2.0, 4.0])
        x = torch.arange(8.0).reshape(1, 2, 2, 2)
        expected = torch.cat([(x[:, :1] - 10) / 2, (x[:, 1:] - 20) / 4], dim=1)
        torch.testing.assert_close(net(x), expected)

    def test_constants_travel_with_the_weights_but_are_not_trained(self) -> None:
        net = network()
        assert {"input_mean", "input_scale"} <= net.state_dict().keys()
        assert not {"input_mean", "input_scale"} & dict(net.named_parameters()).keys()


SAVE = """
import sys, torch
from pathlib import Path
from torch import nn
from edgepress.training.checkpoint import save_weights
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
save_weights(Path(sys.argv[1]), net.to(memory_format=torch.channels_last))
"""


class TestCheckpoint:
    def test_restores_every_value(self, tmp_path: Path) -> None:
        saved, loaded = trained().net, network()
        save_weights(tmp_path / "model.pt", saved)
        load_weights(tmp_path / "model.pt", loaded)
        for key, value in saved.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[key])

    def test_same_weights_give_the_same_bytes_in_another_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subprocess.run([sys.executable, "-c", SAVE, str(tmp_path / "one.pt")], check=True)
        monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "another.pt")])
        exec(SAVE, {})
        assert read_bytes(tmp_path / "one.pt") == read_bytes(tmp_path / "another.pt")

    @pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "other", "pickle"])
    def test_a_damaged_file_is_named(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "model.pt"
        save_weights(path, nn.Linear(2, 2) if damage == "other" else network())
        content = path.read_bytes()
        if damage == "pickle":
            torch.save({"x": Path("anything")}, path)
        elif damage != "other":
            path.write_bytes({"truncated": content[:-100], "garbage": b"garbage", "empty": b""}[damage])
        with pytest.raises(ArtifactError, match=re.escape(f"{path} is corrupt or not")) as caught:
            load_weights(path, network())
        assert "weights_only" not in str(caught.value)

    def test_an_absent_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"cannot read .*model\.pt: No such file .*dvc repro"):
            load_weights(tmp_path / "model.pt", network())


class TestRecord:
    CURVE = (Epoch(1, 0.5, 0.25, 0.75), Epoch(2, 1 / 3, 0.5, 0.5))

    def test_curve_has_a_row_for_each_epoch(self, tmp_path: Path) -> None:
        write_curve(tmp_path / "curve.csv", self.CURVE)
        rows = list(csv.reader((tmp_path / "curve.csv").read_text().splitlines()))
        assert rows[0] == ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
        assert [[float(value) for value in row] for row in rows[1:]] == [
            [1, 0.5, 0.25, 0.75],
            [2, 1 / 3, 0.5, 0.5],
        ]

    def test_metrics_are_those_of_the_best_epoch(self) -> None:
        metrics = train_metrics(TrainResult(network(), self.CURVE[0], self.CURVE))
        expected = {"accuracy": 0.75, "parameters": 36 + 16 + 10 + 2, "epochs": 2, "best_epoch": 1}
        assert metrics == expected


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "expected"),
    [
        (4, 1, 2, torch.contiguous_format),
        (15, 1, 2, torch.contiguous_format),
        (16, 1, 2, torch.channels_last),
        (4, 3, 2, torch.channels_last),
        (4, 1, 1, torch.channels_last),
    ],
)
def test_kernels_whose_gradient_overflows_keep_their_channels_first(channels, kernel, stride, expected):
    """With 4 channels of 64 by 64 the process ended in "corrupted size vs. prev_size"."""
    net = nn.Sequential(nn.Conv2d(channels, 8, kernel, stride=stride))
    assert prefer_channels_last(net) == expected
    assert net[0].weight.is_contiguous(memory_format=expected)
