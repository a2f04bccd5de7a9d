"""quantize: weights, and activations, in fewer bits."""

from edgepress.artifacts import METRICS, PREPARED, model_path, pass_through, write_bytes
from edgepress.boundary import run_stage
from edgepress.compress.tuning.course import Course
from edgepress.config import cluster
from edgepress.config.learning import refuse_without_classes
from edgepress.config.load import Off, load_choice, load_runtime, load_section, named
from edgepress.config.quant import CHOICES, Int8Qat
from edgepress.config.train import Augment

SOURCE, STAGE = "cluster", "quantize"
CURVES = METRICS / f"{STAGE}_curves.csv"


def main() -> None:
    config = load_choice("quant", CHOICES)
    if isinstance(config, Off):
        pass_through(SOURCE, STAGE)
        write_bytes(CURVES, Course().csv())
        return
    runtime, augment = load_runtime(), load_section("train.augment", Augment)
    clustered = load_choice("cluster", cluster.CHOICES)

    from edgepress.compress.quantisation.registry import Sources, quantiser
    from edgepress.compress.tuning.data import TuningData
    from edgepress.datasets.prepared import load_calibration, load_split
    from edgepress.graph.about import pass_on
    from edgepress.graph.formats import number_format
    from edgepress.graph.io import load_model, save_model
    from edgepress.measure.spending import report_stage, told_quality

    training, validation = (load_split(PREPARED / name) for name in ("train", "validation"))
    if not training.has_classes:
        refuse_without_classes("quant", config)
    if isinstance(config, Int8Qat):
        from edgepress.translate.tensorflow_setup import configure

        configure(runtime.seed, runtime.threads)
    course = Course()
    sources = Sources(
        calibration=lambda samples: load_calibration(PREPARED / "calibration", samples),
        tuning=lambda: TuningData(training, validation, augment, runtime.seed, course),
        clusters=0 if isinstance(clustered, Off) else clustered.number_of_clusters,
        tell=lambda line: print(f"{STAGE}: {line}"),
    )
    model = load_model(model_path(SOURCE))
    quantised = quantiser(config)(model, config, sources)
    pass_on(quantised, model, STAGE, named(config, CHOICES))
    save_model(model_path(STAGE), quantised)
    write_bytes(CURVES, course.csv())
    metrics = report_stage(STAGE, SOURCE, validation, runtime.threads, course.metrics())
    size, quality = metrics["size_bytes"], told_quality(metrics)
    print(f"quantize: {number_format(quantised)}, {size:,} bytes; {quality}")


if __name__ == "__main__":
    run_stage(main)
