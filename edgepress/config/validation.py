"""All parameters together: each section by itself, and what one says against what another says."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgepress.config import cluster, convert, data, device, model, prune, quant
from edgepress.config.fine_tune import FineTune
from edgepress.config.learning import refuse_without_classes
from edgepress.config.load import (
    PARAMS,
    Params,
    load_choice,
    load_max_drop,
    load_runtime,
    load_section,
    read_values,
)
from edgepress.config.schema import nearest, unknown
from edgepress.config.train import Train
from edgepress.errors import ConfigError

CHOICES: dict[str, Mapping[str, type[Any]]] = {
    "data": data.CHOICES,
    "model": model.CHOICES,
    "prune": prune.CHOICES,
    "cluster": cluster.CHOICES,
    "quant": quant.CHOICES,
    "convert": convert.CHOICES,
    "device": device.CHOICES,
}
"""The classes that each config group chooses among by `name`; `train` has one class and no name."""

_MISSPELT = 0.8  # alike by so much, a section is taken for one of these; others are the user's own

_OVERLOOKED_BY_DVC = ("size", "nfiles")

SECTIONS = (*CHOICES, "train", "seed", "threads", "max_drop")
"""All that stands at the top of `params.yaml`."""


def validate(params: Params = PARAMS) -> None:
    """Refuse parameters of which a section is missing, unknown, wrong or does not fit another.

    Raises:
        ConfigError: naming the first such value.
    """
    values = read_values(params)
    chosen: dict[str, Any] = {
        section: load_choice(section, choices, values) for section, choices in CHOICES.items()
    }
    load_section("train", Train, values)
    load_runtime(values)
    load_max_drop(values)
    for key in values:
        if key not in SECTIONS and nearest(key, SECTIONS, _MISSPELT):
            raise unknown("section", key, SECTIONS)
    if not data.has_classes(chosen["data"]):
        for section, config in chosen.items():
            refuse_without_classes(section, config)
    if data.has_names(chosen["data"]):
        _refuse_for_named_inputs(chosen)
    if isinstance(chosen["convert"], convert.NoTflite):
        _refuse_without_tflite(chosen["device"])
    _refuse_too_many_calibration_samples(calibration(values), chosen["data"].splits)


def overlooked(values: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Those values that DVC's run cache takes no notice of, by their dotted keys, as texts.

    It leaves out every key, at any depth, that is called as what it notes of files (DVC 3.67,
    `_get_cache_hash` in `dvc/stage/cache.py`), so it would restore what was made of another `data.size`.
    """
    numbered = enumerate(values) if isinstance(values, list) else ()
    for key, value in values.items() if isinstance(values, Mapping) else numbered:
        if not above and key not in SECTIONS:
            continue
        if key in _OVERLOOKED_BY_DVC:
            yield f"{above}{key}", repr(value)
        else:
            yield from overlooked(value, f"{above}{key}.")


def batch_sizes(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The batch sizes that valid parameters train with: their dotted key, and the number of samples."""
    if not isinstance(load_choice("model", model.CHOICES, values), model.Onnx):
        yield "train.batch_size", load_section("train", Train, values).batch_size
    for section in ("prune", "cluster", "quant"):
        tuning = getattr(load_choice(section, CHOICES[section], values), "fine_tune", None)
        if isinstance(tuning, FineTune) and tuning.epochs:
            yield f"{section}.fine_tune.batch_size", tuning.batch_size


def calibration(values: Mapping[str, Any]) -> quant.Calibration | None:
    """How valid parameters find the ranges of activations, where they do."""
    found = getattr(load_choice("quant", quant.CHOICES, values), "calibration", None)
    return found if isinstance(found, quant.Calibration) else None


def _refuse_for_named_inputs(chosen: Mapping[str, Any]) -> None:
    """Inputs by the names of a network want a network that has them, and a converter that takes them."""
    if not isinstance(chosen["model"], model.Onnx):
        raise ConfigError(
            "model is to be trained on images or vectors, but data.layout is 'named'; expected a trained "
            "network with inputs of these names: -S model=onnx -S model.path=FILE"
        )
    if isinstance(chosen["convert"], convert.OnnxTf):
        raise ConfigError(
            "convert is onnx_tf, which takes images or vectors, but data.layout is 'named'; expected "
            "-S convert=nhwc or -S convert=none"
        )


def _refuse_without_tflite(config: device.DeviceConfig | device.Fleet) -> None:
    """Some devices run nothing but what convert=none does not make."""
    members = config.members if isinstance(config, device.Fleet) else {"": config}
    for name, member in members.items():
        if device.runs_tflite_alone(member):
            what = f"device.members.{name}" if name else "device"
            raise ConfigError(
                f"{what} is {device.name_of(member)}, which runs .tflite files alone, but convert is none; "
                "expected a device with ONNX Runtime, e.g. -S device=local, or -S convert=nhwc"
            )


def _refuse_too_many_calibration_samples(config: quant.Calibration | None, splits: data.Splits) -> None:
    if config is not None and config.samples > splits.calibration:
        raise ConfigError(
            f"quant.calibration.samples is {config.samples}, but data.splits.calibration sets only "
            f"{splits.calibration} samples aside; raise data.splits.calibration or lower "
            "quant.calibration.samples. Set it in conf/ or with -S."
        )
