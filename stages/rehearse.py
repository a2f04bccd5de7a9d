"""rehearse: the way through all stages with the initial weights, before the first epoch of training.

What it writes is always the same, so that no other stage runs again for it.
"""

from edgepress.artifacts import CHECKED, PREPARED, write_bytes
from edgepress.boundary import run_stage
from edgepress.config import cluster, prune, quant
from edgepress.config.load import Off, load_choice, load_name, load_runtime
from edgepress.config.model import CHOICES


def main() -> None:
    """Refuse a network that a later stage could not take."""
    runtime = load_runtime()
    pruning, clustering = load_choice("prune", prune.CHOICES), load_choice("cluster", cluster.CHOICES)
    model, number_format, convert = (
        load_choice("model", CHOICES),
        load_choice("quant", quant.CHOICES),
        load_name("convert"),
    )

    from edgepress.datasets.prepared import load_description, load_split
    from edgepress.rehearsal import SAMPLES, Choices, rehearse

    chosen = {"prune": pruning, "cluster": clustering}
    trained = {stage: each.fine_tune for stage, each in chosen.items() if not isinstance(each, Off)}
    description = load_description(PREPARED / "description.json")
    training, calibration = (load_split(PREPARED / name) for name in ("train", "calibration"))
    choices = Choices(model, trained, number_format, convert)
    went = rehearse(choices, description, training, calibration.samples(slice(SAMPLES)), runtime)
    write_bytes(CHECKED / "network", b"rehearsed\n")
    print(f"rehearse: {went}")


if __name__ == "__main__":
    run_stage(main)
