"""What a compression stage made of the network, and a warning where that cost too much accuracy."""

import sys
from collections.abc import Mapping
from typing import Any

from edgepress.artifacts import metrics_path, model_path, read_json, write_json
from edgepress.config.load import load_max_drop
from edgepress.datasets.prepared import Split
from edgepress.measure.agreement import (
    MOST_DB,
    Outputs,
    agreement,
    agreement_metrics,
    aligned,
    is_classifier,
)
from edgepress.measure.inference import accuracy_of, outputs, same_class, told
from edgepress.measure.model_metrics import model_metrics
from edgepress.measure.reference import Reference

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

    Where there is no accuracy, what counts is how often the model gives the class of the stage's source,
    noted as `source_agreement`, and of all outputs the lowest signal-to-noise ratio, `source_snr_db`.
    """
    metrics: dict[str, Any] = {**model_metrics(model_path(stage), validation, threads), **extra}
    if metrics["accuracy"] is None:
        theirs, ours = (outputs(model_path(name), validation, threads) for name in (source, stage))
        metrics |= source_metrics(ours.outputs, theirs)
    write_json(metrics_path(stage), metrics)
    warning = overspent(stage, read_json(metrics_path(source)), metrics, load_max_drop())
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    return metrics


def quality_metrics(found: Outputs, source: str, validation: Split, threads: int) -> dict[str, Any]:
    """The accuracy of a model's outputs or, where there is none, how far they agree with the source's."""
    correct = accuracy_of(found, validation.y)
    if correct is not None:
        return {"accuracy": correct}
    theirs = outputs(model_path(source), validation, threads)
    return {"accuracy": None, **source_metrics(aligned(found, theirs.outputs), theirs)}


def source_metrics(actual: Outputs, source: Reference) -> dict[str, Any]:
    """How far the outputs of what a stage made agree with those of what it made it of."""
    ours, theirs = next(iter(actual.values())), next(iter(source.outputs.values()))
    same = {"source_agreement": same_class(ours, theirs)} if is_classifier(actual, source.samples) else {}
    found = agreement(actual, source.outputs, source.samples)
    return same | {"source_snr_db": agreement_metrics(found)["min_snr_db"]}


def told_quality(metrics: Mapping[str, Any]) -> str:
    """The accuracy in a stage's last line or, without one, how far outputs agree with the source's."""
    snr_db = metrics.get("source_snr_db")
    if metrics["accuracy"] is not None or snr_db is None:
        return told(metrics["accuracy"])
    if snr_db >= MOST_DB:
        return "outputs as before"
    return f"outputs at {snr_db:.1f} dB of signal over noise, of what they were before"


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
