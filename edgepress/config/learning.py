"""Which choices learn from classes, and what to choose where the data has none."""

from typing import Any

from edgepress.config.fine_tune import FineTune
from edgepress.config.model import Onnx
from edgepress.errors import ConfigError

_INSTEAD = {"prune": "none", "cluster": "none", "quant": "int8"}


def refuse_without_classes(section: str, config: Any) -> None:
    """Refuse the choice of a config group (`model`, `prune`, `cluster`, `quant`) that needs to know classes.

    Fine-tuning needs none where the network as it was is its only teacher.

    Raises:
        ConfigError: it does; the message names what works without.
    """
    if section == "model" and not isinstance(config, Onnx):
        raise ConfigError(
            "model is to be trained, but the data has no classes to learn; expected a trained network: "
            "-S model=onnx -S model.path=FILE, or data with classes"
        )
    tuning = getattr(config, "fine_tune", None)
    if isinstance(tuning, FineTune) and tuning.epochs and tuning.distillation < 1:
        key = f"{section}.fine_tune"
        raise ConfigError(
            f"{key}.epochs is {tuning.epochs}, but the data has no classes to learn; expected 0, or "
            f"{key}.distillation=1 (the network teaches itself), or {section}={_INSTEAD[section]}"
        )
