"""cluster: kernels share few distinct weights."""

from edgepress.artifacts import METRICS, PREPARED, model_path, pass_through, write_bytes
from edgepress.boundary import run_stage
from edgepress.compress.tuning.course import Course
from edgepress.config.cluster import CHOICES
from edgepress.config.learning import refuse_without_classes
from edgepress.config.load import Off, load_choice, load_runtime, load_section, named
from edgepress.config.train import Augment

SOURCE, STAGE = "prune", "cluster"
CURVES = METRICS / f"{STAGE}_curves.csv"


def main() -> None:
    config = load_choice("cluster", CHOICES)
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

    from edgepress.compress.clustering.registry import clustering
    from edgepress.graph.about import pass_on
    from edgepress.graph.io import load_model, save_model
    from edgepress.measure.spending import report_stage, told_quality
    from edgepress.translate.tensorflow_setup import configure

    model = load_model(model_path(SOURCE))
    configure(runtime.seed, runtime.threads)
    data = TuningData(training, validation, augment, runtime.seed)
    clustered = clustering(config)(model, config, data)
    pass_on(clustered, model, STAGE, named(config, CHOICES))
    save_model(model_path(STAGE), clustered)
    write_bytes(CURVES, data.course.csv())
    metrics = report_stage(STAGE, SOURCE, validation, runtime.threads, data.course.metrics())
    unique, quality = metrics["max_unique_weights"], told_quality(metrics)
    print(f"cluster: at most {unique} distinct weights in a kernel; {quality}")


if __name__ == "__main__":
    run_stage(main)
