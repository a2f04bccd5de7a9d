"""train: `data/prepared/` → `models/train/`: `model.pt`, trained here, or `model.onnx`, trained elsewhere."""

from dataclasses import asdict

from edgepress.artifacts import (
    METRICS,
    PREPARED,
    metrics_path,
    model_path,
    write_bytes,
    write_json,
)
from edgepress.boundary import run_stage
from edgepress.config.learning import refuse_without_classes
from edgepress.config.load import load_choice, load_runtime, load_section
from edgepress.config.model import CHOICES, Onnx
from edgepress.config.train import Train

CURVE = METRICS / "learning_curves.csv"


def main() -> None:
    """Build the network, train it, and save its best weights and the course of training."""
    model = load_choice("model", CHOICES)
    if isinstance(model, Onnx):
        _take_in(model)
        return
    config = load_section("train", Train)
    runtime = load_runtime()

    from edgepress.datasets.prepared import load_description, load_split

    training, validation = (load_split(PREPARED / name) for name in ("train", "validation"))
    if not training.has_classes:
        refuse_without_classes("model", model)

    from edgepress.architectures.registry import build, input_scaling
    from edgepress.measure.sizes import size_metrics
    from edgepress.training.checkpoint import save_weights
    from edgepress.training.loop import prepare_torch, train
    from edgepress.training.normalised import Normalised
    from edgepress.training.record import train_metrics, write_curve

    description = load_description(PREPARED / "description.json")
    prepare_torch(runtime)
    net = build(model, description.input_shape, description.classes)
    scaling = input_scaling(model, description.mean, description.std, description.value_range)
    result = train(Normalised(net, *scaling), training, validation, config, runtime.seed)
    checkpoint = model_path("train", "model.pt")
    save_weights(checkpoint, result.net)
    write_json(model_path("train", "parameters.json"), {"train": asdict(config), "seed": runtime.seed})
    write_curve(CURVE, result.curve)
    metrics = {**train_metrics(result), **size_metrics(checkpoint)}
    write_json(metrics_path("train"), metrics)
    print(
        f"train: validation accuracy {metrics['accuracy']:.4f} with {metrics['parameters']} parameters, "
        f"best of {metrics['epochs']} epochs: {metrics['best_epoch']}"
    )


def _take_in(model: Onnx) -> None:
    """Check that a trained network from a file fits the data, and keep it as it is, weights included.

    Inputs that nothing depends on are left out: the data need not have them.
    """
    threads = load_runtime().threads

    from edgepress.datasets.prepared import load_description, load_split
    from edgepress.datasets.samples import Samples
    from edgepress.graph.imported.network import imported, read_source
    from edgepress.graph.weights import weight_statistics
    from edgepress.measure.inference import accuracy_of, outputs, told
    from edgepress.measure.reference import keep_inputs
    from edgepress.measure.sizes import size_metrics
    from edgepress.training.record import write_curve

    description = load_description(PREPARED / "description.json")
    validation = load_split(PREPARED / "validation")
    original = read_source(model)
    network = imported(original, model, description.input_shape, description.classes, description.inputs)
    keep_inputs(original, network.inputs)
    taken = model_path("train")
    write_bytes(taken, original.SerializeToString(deterministic=True))
    write_curve(CURVE, ())
    found = outputs(taken, validation, threads, lambda samples: Samples(network.feed(samples.arrays)))
    correct = accuracy_of(found.outputs, validation.y)
    parameters = weight_statistics(network.model).parameters
    metrics = {"accuracy": correct, "parameters": parameters, "epochs": 0, "best_epoch": 0}
    write_json(metrics_path("train"), {**metrics, **size_metrics(taken)})
    print(f"train: {model.path} is trained already: validation {told(correct)}, {parameters} parameters")


if __name__ == "__main__":
    run_stage(main)
