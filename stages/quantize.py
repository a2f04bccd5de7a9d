"""quantize: weights, and activations, in fewer bits."""

from edgepress.artifacts import PREPARED, metrics_path, model_path, pass_through, write_json
from edgepress.boundary import run_stage
from edgepress.config import cluster
from edgepress.config.learning import refuse_without_classes
from edgepress.config.load import Off, load_choice, load_runtime, load_section
from edgepress.config.quant import CHOICES, Int8Qat
from edgepress.config.train import Augment

SOURCE, STAGE = "cluster", "quantize"


def main() -> None:
    config = load_choice("quant", CHOICES)
    if isinstance(config, Off):
        pass_through(SOURCE, STAGE)
        return
    runtime, augment = load_runtime(), load_section("train.augment", Augment)
    clustered = load_choice("cluster", cluster.CHOICES)

    from edgepress.compress.quantisation.registry import Sources, quantiser
    from edgepress.compress.tuning.data import TuningData
    from edgepress.datasets.prepared import load_calibration, load_split
    from edgepress.graph.formats import number_format
    from edgepress.graph.io import load_model, save_model
    from edgepress.measure.inference import told
    from edgepress.measure.model_metrics import model_metrics

    training = load_split(PREPARED / "train")
    if not training.has_classes:
        refuse_without_classes("quant", config)
    if isinstance(config, Int8Qat):
        from edgepress.translate.tensorflow_setup import configure

        configure(runtime.seed, runtime.threads)
    sources = Sources(
        calibration=lambda samples: load_calibration(PREPARED / "calibration", samples),
        tuning=lambda: TuningData(training, augment, runtime.seed),
        clusters=0 if isinstance(clustered, Off) else clustered.number_of_clusters,
        tell=lambda line: print(f"{STAGE}: {line}"),
    )
    quantised = quantiser(config)(load_model(model_path(SOURCE)), config, sources)
    save_model(model_path(STAGE), quantised)
    metrics = model_metrics(model_path(STAGE), load_split(PREPARED / "validation"), runtime.threads)
    write_json(metrics_path(STAGE), metrics)
    size, accuracy = metrics["size_bytes"], told(metrics["accuracy"])
    print(f"quantize: {number_format(quantised)}, {size:,} bytes; {accuracy}")


if __name__ == "__main__":
    run_stage(main)
