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

    from edgepress.datasets.prepared import load_description, load_split
    from edgepress.report import evaluation
    from edgepress.report.fleet import Samples, evaluate
    from edgepress.report.profile import profile_csv

    description = load_description(PREPARED / "description.json")
    split = load_split(PREPARED / "test")
    found = evaluate(config, evaluation.PAIRS, Samples(PREPARED / "test" / "x.npy", split, description))
    write_json(metrics_path("accuracy"), found.accuracy)
    write_json(metrics_path("latency"), found.latency)
    write_bytes(METRICS / "confusion.csv", found.confusion)
    write_bytes(METRICS / "profile.csv", profile_csv(found.profiles))
    for warning in found.warnings:
        print(f"warning: {one_line(warning)}", file=sys.stderr)
    for line in found.lines:
        print(f"evaluate-on-device: {line}")


if __name__ == "__main__":
    run_stage(main)
