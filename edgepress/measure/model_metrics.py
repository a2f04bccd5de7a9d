"""The metrics that every stage with an ONNX model reports."""

from pathlib import Path
from typing import Any

from edgepress.artifacts import MODEL_METRICS
from edgepress.datasets.prepared import Split
from edgepress.graph.io import load_model
from edgepress.graph.weights import weight_statistics
from edgepress.measure.inference import accuracy_of, outputs
from edgepress.measure.sizes import size_metrics


def model_metrics(path: Path, validation: Split, threads: int) -> dict[str, Any]:
    """Accuracy on the validation split, sizes and weight statistics of an ONNX model."""
    statistics = weight_statistics(load_model(path))
    metrics = {
        "accuracy": accuracy_of(outputs(path, validation, threads).outputs, validation.y),
        **size_metrics(path),
        "parameters": statistics.parameters,
        "sparsity": statistics.sparsity,
        "max_unique_weights": statistics.max_unique_weights,
    }
    assert tuple(metrics) == MODEL_METRICS
    return metrics
