"""prepare-data: data set → `data/prepared/`, fixed stratified splits and their description."""

import sys

from edgepress.artifacts import PREPARED
from edgepress.boundary import run_stage
from edgepress.config.data import CHOICES
from edgepress.config.load import load_choice, load_runtime
from edgepress.text import one_line


def main() -> None:
    """Load the data set, split it, and save the parts."""
    config = load_choice("data", CHOICES)
    runtime = load_runtime()

    from edgepress.datasets.identical import find_identical
    from edgepress.datasets.prepared import save_description
    from edgepress.datasets.registry import dataset_name, load_dataset
    from edgepress.datasets.splits import describe, remarks, save, split

    dataset = load_dataset(config)
    same = find_identical(dataset)
    for remark in (*dataset.remarks, *same.remarks):
        print(f"prepare-data: {one_line(remark)}")
    parts = split(dataset, config.splits, runtime.seed, same)
    for remark in remarks(dataset, parts, config.splits):
        print(f"warning: {remark}", file=sys.stderr)
    training = save(dataset, parts, PREPARED)
    description = describe(dataset_name(config), dataset, parts, training)
    save_description(PREPARED / "description.json", description)
    sizes = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
    print(f"prepare-data: {description.name} {description.told}, {sizes}")


if __name__ == "__main__":
    run_stage(main)
