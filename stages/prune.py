"""prune: weights become zero, and the network learns to do without them."""

from edgepress.artifacts import METRICS, PREPARED, model_path, pass_through, write_bytes
from edgepress.boundary import run_stage
from edgepress.compress.tuning.course import Course
from edgepress.config.learning import refuse_without_classes
from edgepress.config.load import Off, load_choice, load_runtime, load_section, named
from edgepress.config.prune import CHOICES
from edgepress.config.train import Augment

SOURCE, STAGE = "export-onnx", "prune"
CURVES = METRICS / f"{STAGE}_curves.csv"


def main() -> None:
    config = load_choice("prune", CHOICES)
    if isinstance(config, Off):
        pass_through(SOURCE, STAGE)
        write_bytes(CURVES, Course().csv())
        return
    runtime, augment = load_runtime(), load_section("train.augment", Augment)

    from edgepress.compress.tuning.data import TuningData
    from edgepress.datasets.prepared import load_split

    training, validation = (load_split(PREPARED / name) for name in ("train", "validation"))
    if not training.has_classes:
        refuse_without_classes(STAGE, config)

    from edgepress.compress.prune import prune
    from edgepress.graph.about import pass_on
    from edgepress.graph.io import load_model, save_model
    from edgepress.measure.spending import report_stage, told_quality
    from edgepress.translate.tensorflow_setup import configure

    model = load_model(model_path(SOURCE))
    configure(runtime.seed, runtime.threads)
    data = TuningData(training, validation, augment, runtime.seed)
    pruned = prune(model, config, data)
    pass_on(pruned, model, STAGE, named(config, CHOICES))
    save_model(model_path(STAGE), pruned)
    write_bytes(CURVES, data.course.csv())
    metrics = report_stage(STAGE, SOURCE, validation, runtime.threads, data.course.metrics())
    sparsity, quality = metrics["sparsity"], told_quality(metrics)
    print(f"prune: {sparsity:.1%} of the prunable weights are zero; {quality}")


if __name__ == "__main__":
    run_stage(main)
