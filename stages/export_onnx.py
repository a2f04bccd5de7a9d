"""export-onnx: `models/train/` → `models/export-onnx/model.onnx`, and how far the two agree."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from edgepress.artifacts import PREPARED, metrics_path, model_path, read_json, write_json
from edgepress.boundary import run_stage
from edgepress.config.load import Runtime, load_choice, load_runtime
from edgepress.config.model import CHOICES, ModelConfig, Onnx, untrained

if TYPE_CHECKING:
    import onnx

    from edgepress.datasets.prepared import Description, Split
    from edgepress.measure.parity import Reference

STAGE = "export-onnx"

Scaling = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation per channel with which the network scales raw inputs, empty if it does not."""


def main() -> None:
    """Bring the network into the form of all later stages, and compare the two on the validation split."""
    config = load_choice("model", CHOICES)
    runtime = load_runtime()

    from edgepress.datasets.prepared import load_description, load_split
    from edgepress.graph.about import say
    from edgepress.graph.imported.network import gives_classes
    from edgepress.graph.io import save_model
    from edgepress.measure.inference import outputs, told
    from edgepress.measure.model_metrics import model_metrics
    from edgepress.measure.parity import parity

    description = load_description(PREPARED / "description.json")
    validation = load_split(PREPARED / "validation")
    if isinstance(config, Onnx):
        model, reference, scaling = _imported(config, description, validation, runtime)
    else:
        model, reference, scaling = _trained(config, description, validation, runtime)
    path = model_path(STAGE)
    named = description.class_names if gives_classes(model, description.classes) else ()
    say(model, _about(config, description, scaling, named))
    save_model(path, model)
    exported = outputs(path, validation, runtime.threads)
    compared = parity(reference, exported.outputs, exported.samples)
    metrics = {**model_metrics(path, validation, runtime.threads), **compared}
    write_json(metrics_path(STAGE), metrics)
    accuracy, difference = told(metrics["accuracy"]), metrics["max_abs_diff"]
    print(f"{STAGE}: validation {accuracy}, outputs within {difference:.2g} of {reference.origin.name}")


def _about(
    config: ModelConfig, description: "Description", scaling: "Scaling", class_names: Sequence[str]
) -> dict[str, str]:
    """What the network says of itself from here on."""
    from edgepress.graph.about import classifier

    name = next(name for name, choice in CHOICES.items() if isinstance(config, choice))
    trained = {} if isinstance(config, Onnx) else read_json(model_path("train", "parameters.json"))
    data = {"name": description.name, "samples": description.samples, "licence": description.licence}
    made_by = {"data": data, "model": {"name": name, **asdict(config)}, **trained}
    each = {name: one.limits for name, one in description.inputs.items()}
    limits = each if description.named else description.value_range
    return classifier(description.name, class_names, limits, scaling, made_by)


def _trained(
    config: ModelConfig, description: "Description", validation: "Split", runtime: Runtime
) -> "tuple[onnx.ModelProto, Reference, Scaling]":
    """Rebuild the trained network and export it."""
    from edgepress.architectures.registry import build
    from edgepress.measure.parity import PYTORCH, Reference
    from edgepress.training.checkpoint import load_weights
    from edgepress.training.export import export
    from edgepress.training.loop import predict, prepare_torch
    from edgepress.training.normalised import Normalised

    prepare_torch(runtime)
    net = build(untrained(config), description.input_shape, description.classes)
    whole = Normalised(net, description.mean, description.std)
    load_weights(model_path("train", "model.pt"), whole)
    scaling = whole.input_mean.flatten().tolist(), (1 / whole.input_scale).flatten().tolist()
    return export(whole, description.input_shape), Reference([predict(whole, validation)], PYTORCH), scaling


def _imported(
    config: Onnx, description: "Description", validation: "Split", runtime: Runtime
) -> "tuple[onnx.ModelProto, Reference, Scaling]":
    """Normalise the network from a file and put the scaling of its inputs before it."""
    from edgepress.datasets.samples import Samples
    from edgepress.graph.imported.network import imported
    from edgepress.graph.normalise.files import read_onnx
    from edgepress.measure.inference import outputs
    from edgepress.measure.parity import FILE, Reference

    source = model_path("train")
    network = imported(
        read_onnx(source), config, description.input_shape, description.classes, description.inputs
    )
    found = outputs(source, validation, runtime.threads, lambda each: Samples(network.feed(each.arrays)))
    reference = Reference([*found.outputs.values()], FILE, network.as_in_the_file)
    return network.model, reference, (list(config.mean), list(config.std))


if __name__ == "__main__":
    run_stage(main)
