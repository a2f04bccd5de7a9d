"""train: `data/prepared/` → `models/train/model.pt`, the float network behind its normalisation."""

from edgepress.artifacts import METRICS, PREPARED, metrics_path, model_path, run_stage, write_json
from edgepress.config.load import load_choice, load_runtime, load_section
from edgepress.config.model import CHOICES
from edgepress.config.train import Train


def main() -> None:
    """Build the network, train it, and save its best weights and the course of training."""
    model = load_choice("model", CHOICES)
    config = load_section("train", Train)
    runtime = load_runtime()

    from edgepress.architectures.registry import build
    from edgepress.datasets.prepared import load_description, load_split
    from edgepress.measure.sizes import size_metrics
    from edgepress.training.checkpoint import save_weights
    from edgepress.training.loop import prepare_torch, train
    from edgepress.training.normalised import Normalised
    from edgepress.training.record import train_metrics, write_curve

    description = load_description(PREPARED / "description.json")
    training, validation = (load_split(PREPARED / name) for name in ("train", "validation"))
    prepare_torch(runtime)
    net = build(model, description.input_shape, description.classes)
    result = train(
        Normalised(net, description.mean, description.std), training, validation, config, runtime.seed
    )
    checkpoint = model_path("train", "model.pt")
    save_weights(checkpoint, result.net)
    write_curve(METRICS / "learning_curves.csv", result.curve)
    metrics = {**train_metrics(result), **size_metrics(checkpoint)}
    write_json(metrics_path("train"), metrics)
    print(
        f"train: validation accuracy {metrics['accuracy']:.4f} with {metrics['parameters']} parameters, "
        f"best of {metrics['epochs']} epochs: {metrics['best_epoch']}"
    )


if __name__ == "__main__":
    run_stage(main)
