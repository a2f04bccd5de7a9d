"""export-onnx: `models/train/model.pt` → `models/export-onnx/model.onnx`, with its parity with PyTorch."""

from edgepress.artifacts import PREPARED, metrics_path, model_path, run_stage, write_json
from edgepress.config.load import load_choice, load_runtime
from edgepress.config.model import CHOICES

STAGE = "export-onnx"


def main() -> None:
    """Rebuild the trained network, export it, and compare the two on the validation split."""
    model = load_choice("model", CHOICES)
    runtime = load_runtime()

    from edgepress.architectures.registry import build
    from edgepress.datasets.prepared import load_description, load_split
    from edgepress.graph.io import save_model
    from edgepress.measure.inference import logits
    from edgepress.measure.model_metrics import model_metrics
    from edgepress.training.checkpoint import load_weights
    from edgepress.training.export import export, parity
    from edgepress.training.loop import predict, prepare_torch
    from edgepress.training.normalised import Normalised

    description = load_description(PREPARED / "description.json")
    validation = load_split(PREPARED / "validation")
    prepare_torch(runtime)
    net = Normalised(
        build(model, description.input_shape, description.classes), description.mean, description.std
    )
    load_weights(model_path("train", "model.pt"), net)
    path = model_path(STAGE)
    save_model(path, export(net, description.input_shape))
    compared = parity(predict(net, validation), logits(path, validation, runtime.threads))
    metrics = {**model_metrics(path, validation, runtime.threads), **compared}
    write_json(metrics_path(STAGE), metrics)
    accuracy, difference = metrics["accuracy"], metrics["max_abs_diff"]
    print(f"{STAGE}: validation accuracy {accuracy:.4f}, logits within {difference:.2g} of PyTorch's")


if __name__ == "__main__":
    run_stage(main)
