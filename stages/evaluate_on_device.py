"""evaluate-on-device: the finished models and their float32 baselines, measured on the test split."""

from edgepress.artifacts import (
    METRICS,
    PREPARED,
    metrics_path,
    model_path,
    run_stage,
    write_bytes,
    write_json,
)
from edgepress.config.device import CHOICES
from edgepress.config.load import load_choice
from edgepress.datasets.prepared import load_description, load_split
from edgepress.devices.base import Pair
from edgepress.devices.registry import open_device
from edgepress.report import evaluation

PAIRS = (
    Pair(
        "tflite",
        candidate=model_path("convert-tflite", "model.tflite"),
        baseline=model_path("convert-tflite", "baseline.tflite"),
    ),
    Pair("onnxruntime", candidate=model_path("quantize"), baseline=model_path("export-onnx")),
)


def main() -> None:
    """Measure each runtime's pair; write accuracies, latencies and the confusion of the `.tflite`."""
    config = load_choice("device", CHOICES)
    description = load_description(PREPARED / "description.json")
    test = load_split(PREPARED / "test")
    device = open_device(config)
    pairs = [pair for pair in PAIRS if pair.runtime in device.runtimes]
    measured = {pair.runtime: device.measure(pair, PREPARED / "test" / "x.npy") for pair in pairs}
    for measurement in measured.values():
        evaluation.check_outputs(measurement, description.classes)
    accuracy = evaluation.accuracy_report(measured, test.y)
    latency = evaluation.latency_report(measured, config)
    confusion = evaluation.confusion_csv(measured["tflite"].candidate, test.y, description.class_names)
    write_json(metrics_path("accuracy"), accuracy)
    write_json(metrics_path("latency"), latency)
    write_bytes(METRICS / "confusion.csv", confusion)
    for name in measured:
        print(f"evaluate-on-device: {name} {evaluation.summary(accuracy[name], latency[name])}")


if __name__ == "__main__":
    run_stage(main)
