"""prune: weights become zero, and the network learns to do without them."""

from edgepress.artifacts import PREPARED, metrics_path, model_path, pass_through, write_json
from edgepress.boundary import run_stage
from edgepress.config.learning import refuse_without_classes
from edgepress.config.load import Off, load_choice, load_runtime, load_section
from edgepress.config.prune import CHOICES
from edgepress.config.train import Augment

SOURCE, STAGE = "export-onnx", "prune"


def main() -> None:
    config = load_choice("prune", CHOICES)
    if isinstance(config, Off):
        pass_through(SOURCE, STAGE)
        return
    runtime, augment = load_runtime(), load_section("train.augment", Augment)

    from edgepress.compress.tuning.data import TuningData
    from edgepress.datasets.prepared import load_split

    training = load_split(PREPARED / "train")
    if not training.has_classes:
        refuse_without_classes(STAGE, config)

    from edgepress.compress.prune import prune
    from edgepress.graph.io import load_model, save_model
    from edgepress.measure.inference import told
    from edgepress.measure.model_metrics import model_metrics
    from edgepress.translate.tensorflow_setup import configure

    model = load_model(model_path(SOURCE))
    configure(runtime.seed, runtime.threads)
    data = TuningData(training, augment, runtime.seed)
    pruned = prune(model, config, data)
    save_model(model_path(STAGE), pruned)
    metrics = model_metrics(model_path(STAGE), load_split(PREPARED / "validation"), runtime.threads)
    write_json(metrics_path(STAGE), metrics)
    sparsity, accuracy = metrics["sparsity"], told(metrics["accuracy"])
    print(f"prune: {sparsity:.1%} of the prunable weights are zero; {accuracy}")


if __name__ == "__main__":
    run_stage(main)
