"""Reading and writing ONNX files."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edgepress.artifacts import broken, read_bytes, write_bytes


def load_model(path: Path) -> onnx.ModelProto:
    """Read and check a model.

    Raises:
        ArtifactError: the file is absent, truncated or not a valid ONNX model.
    """
    content = read_bytes(path)
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise broken(path, "an ONNX model", error) from error
    return model


def save_model(path: Path, model: onnx.ModelProto) -> None:
    """Check a model and write it; the same model gives the same bytes."""
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString(deterministic=True))
