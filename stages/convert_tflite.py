"""convert-tflite: the compressed network and its float32 baseline as `.tflite`, or why there is none."""

from typing import TYPE_CHECKING, Any

from edgepress.artifacts import PREPARED, metrics_path, model_path, write_bytes, write_json
from edgepress.boundary import run_stage
from edgepress.config.convert import CHOICES, ConvertConfig, NoTflite
from edgepress.config.load import load_choice, load_runtime

if TYPE_CHECKING:
    import onnx

SOURCE, BASELINE, STAGE = "quantize", "export-onnx", "convert-tflite"


def main() -> None:
    config, runtime = load_choice("convert", CHOICES), load_runtime()

    from edgepress.graph.io import load_model

    candidate = load_model(model_path(SOURCE))
    if isinstance(config, NoTflite):
        metrics = _left_out(candidate)
    else:
        metrics = _converted(candidate, load_model(model_path(BASELINE)), config, runtime.threads)
    write_json(metrics_path(STAGE), metrics)


def _left_out(candidate: "onnx.ModelProto") -> dict[str, Any]:
    """Say that there is no `.tflite`, and whether there could be one; no earlier one stays."""
    from edgepress.convert.nhwc import why_not
    from edgepress.devices.conversion import Conversion, save_conversion

    reason = "convert=none asks for none; " + (why_not(candidate) or "the network could be one: convert=nhwc")
    told = f"no .tflite: {reason}\n".encode()
    write_bytes(model_path(STAGE, "model.absent"), told)
    write_bytes(model_path(STAGE, "baseline.absent"), told)
    for earlier in (model_path(STAGE, "model.tflite"), model_path(STAGE, "baseline.tflite")):
        earlier.unlink(missing_ok=True)
    save_conversion(Conversion("none", None, reason))
    print(f"convert-tflite: off, {reason}")
    return {"converter": "none", "accuracy": None, "reason": reason}


def _converted(
    candidate: "onnx.ModelProto", baseline: "onnx.ModelProto", config: ConvertConfig, threads: int
) -> dict[str, Any]:
    """Convert both, and measure the candidate on the validation split."""
    from edgepress.convert.flatbuffer import tflite_metrics
    from edgepress.convert.registry import calibration_images, convert_pair, pipeline_orders
    from edgepress.datasets.prepared import input_files, load_split
    from edgepress.devices.conversion import Conversion, save_conversion
    from edgepress.devices.prediction import predict
    from edgepress.graph.kept_floats import blurred_outputs, float_joins
    from edgepress.measure.sizes import size_metrics
    from edgepress.measure.spending import quality_metrics

    calibration, validation = (load_split(PREPARED / name) for name in ("calibration", "validation"))
    orders = pipeline_orders(baseline, config, images=not validation.named)
    converted = convert_pair(candidate, baseline, config, calibration_images(calibration), orders)
    target = model_path(STAGE, "model.tflite")
    converted.candidate.save(target)
    converted.baseline.save(model_path(STAGE, "baseline.tflite"))
    save_conversion(Conversion(converted.converter, orders))
    found = predict(target, input_files(PREPARED / "validation"), threads, orders)
    metrics = {
        "converter": converted.converter,
        **quality_metrics(found.values, SOURCE, validation, threads),
        **size_metrics(target),
        **tflite_metrics(target),
    }
    ops, transposes, size = metrics["ops"], metrics["transpose_ops"], metrics["size_bytes"]
    for line in (*map(str, float_joins(candidate)), *blurred_outputs(candidate)):
        print(f"convert-tflite: {line}")
    print(f"convert-tflite: {converted.converter}, {ops} operators, {transposes} transposes, {size:,} bytes")
    print(f"convert-tflite: weights {metrics['weights']}")
    return metrics


if __name__ == "__main__":
    run_stage(main)
