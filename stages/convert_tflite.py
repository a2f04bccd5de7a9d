"""convert-tflite: the compressed network and its float32 baseline as `.tflite`."""

from edgepress.artifacts import PREPARED, metrics_path, model_path, write_json
from edgepress.boundary import run_stage
from edgepress.config.convert import CHOICES
from edgepress.config.load import load_choice, load_runtime

SOURCE, BASELINE, STAGE = "quantize", "export-onnx", "convert-tflite"


def main() -> None:
    config, runtime = load_choice("convert", CHOICES), load_runtime()

    from edgepress.convert.flatbuffer import tflite_metrics
    from edgepress.convert.registry import convert_pair
    from edgepress.datasets.prepared import load_split
    from edgepress.devices.prediction import predict
    from edgepress.graph.io import load_model
    from edgepress.graph.kept_floats import blurred_outputs, float_joins
    from edgepress.measure.inference import accuracy
    from edgepress.measure.sizes import size_metrics

    candidate, baseline = load_model(model_path(SOURCE)), load_model(model_path(BASELINE))
    calibration = load_split(PREPARED / "calibration").inputs()
    converted = convert_pair(candidate, baseline, config, calibration)
    target = model_path(STAGE, "model.tflite")
    converted.candidate.save(target)
    converted.baseline.save(model_path(STAGE, "baseline.tflite"))
    validation = PREPARED / "validation"
    outputs = predict(target, validation / "x.npy", runtime.threads)
    metrics = {
        "converter": converted.converter,
        "accuracy": accuracy(outputs, load_split(validation).y),
        **size_metrics(target),
        **tflite_metrics(target),
    }
    write_json(metrics_path(STAGE), metrics)
    ops, transposes, size = metrics["ops"], metrics["transpose_ops"], metrics["size_bytes"]
    for line in (*map(str, float_joins(candidate)), *blurred_outputs(candidate)):
        print(f"convert-tflite: {line}")
    print(f"convert-tflite: {converted.converter}, {ops} operators, {transposes} transposes, {size:,} bytes")
    print(f"convert-tflite: weights {metrics['weights']}")


if __name__ == "__main__":
    run_stage(main)
