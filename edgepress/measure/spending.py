"""What a compression stage made of the network, and a warning where that cost too much accuracy."""

import sys
from collections.abc import Mapping
from typing import Any

from edgepress.artifacts import metrics_path, model_path, read_json, write_json
from edgepress.config.load import load_max_drop
from edgepress.datasets.prepared import Split
from edgepress.measure.inference import logits, same_class
from edgepress.measure.model_metrics import model_metrics

_REMEDIES = {
    "prune": "prune less, or longer: raise prune.fine_tune.epochs",
    "cluster": "raise cluster.number_of_clusters or cluster.fine_tune.epochs",
    "quantize": "try quant=int8_qat, or quant=fp16",
    "convert-tflite": "try the other converter",
}
"""What to do about each stage that may cost accuracy."""


def report_stage(
    stage: str, source: str, validation: Split, threads: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure the stage's model, write its metrics and `extra`, and warn of a loss above `max_drop`.

    Without classes, what counts is how often the model gives the class of the stage's source, noted as
    `source_agreement`.
    """
    metrics: dict[str, Any] = {**model_metrics(model_path(stage), validation, threads), **extra}
    if not validation.has_classes:
        outputs = (logits(model_path(name), validation, threads) for name in (source, stage))
        metrics["source_agreement"] = same_class(*outputs)
    write_json(metrics_path(stage), metrics)
    warning = overspent(stage, read_json(metrics_path(source)), metrics, load_max_drop())
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    return metrics


def overspent(stage: str, before: Mapping[str, Any], after: Mapping[str, Any], max_drop: float) -> str | None:
    """A line for a stage that lost more than `max_drop`, by its metrics and those of the stage before it."""
    if stage not in _REMEDIES:
        return None
    spent = f"more than max_drop={max_drop:g}; {_REMEDIES[stage]}, or raise max_drop"
    agreement = after.get("source_agreement")
    if isinstance(agreement, float) and 1 - agreement > max_drop:
        return (
            f"{stage}: {1 - agreement:.1%} of the validation samples get another class than before, {spent}"
        )
    high, low = before.get("accuracy"), after.get("accuracy")
    if isinstance(high, int | float) and isinstance(low, int | float) and high - low > max_drop:
        return f"{stage}: validation accuracy fell from {high:.4f} to {low:.4f}, {spent}"
    return None
