"""evaluate-on-device: the finished models and their float32 baselines, measured on the test split."""

import sys

from edgepress.artifacts import METRICS, PREPARED, metrics_path, write_bytes, write_json
from edgepress.boundary import run_stage
from edgepress.config.device import CHOICES
from edgepress.config.load import load_choice
from edgepress.text import one_line


def main() -> None:
    """Measure each runtime's pair; write accuracies, times and the confusion of the `.tflite`."""
    config = load_choice("device", CHOICES)

    from edgepress.datasets.prepared import input_files, load_description, load_split
    from edgepress.devices.conversion import load_conversion
    from edgepress.report import evaluation
    from edgepress.report.fleet import Samples, evaluate
    from edgepress.report.profile import profile_csv

    description = load_description(PREPARED / "description.json")
    split = load_split(PREPARED / "test")
    conversion = load_conversion()
    samples = Samples(input_files(PREPARED / "test"), split, description)
    found = evaluate(config, evaluation.pairs(conversion), samples)
    without = {"without_tflite": conversion.reason} if conversion.orders is None else {}
    write_json(metrics_path("accuracy"), {**found.accuracy, **without})
    write_json(metrics_path("latency"), found.latency)
    write_bytes(METRICS / "confusion.csv", found.confusion)
    write_bytes(METRICS / "profile.csv", profile_csv(found.profiles))
    for warning in found.warnings:
        print(f"warning: {one_line(warning)}", file=sys.stderr)
    for line in found.lines:
        print(f"evaluate-on-device: {line}")


if __name__ == "__main__":
    run_stage(main)
