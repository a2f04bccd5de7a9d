"""Reading an ONNX file that nobody vouches for, with the external data that lies beside it."""

import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from edgepress.errors import ArtifactError
from edgepress.graph.normalise.limits import MAX_FILE_BYTES, MAX_NAME, one_line, refuse
from edgepress.graph.normalise.tensors import tensor_bytes


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse a file and load its external data, which must lie inside the file's own folder.

    Raises:
        ArtifactError: the file is absent, too large, truncated or not ONNX.
        UnsupportedModelError: external data is missing, too short, or points out of the folder.
    """
    model = parse(_read(path), path)
    room = MAX_FILE_BYTES
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            room -= tensor_bytes(tensor)
            if room < 0:
                refuse(f"the external data is larger than {MAX_FILE_BYTES} bytes", "use a smaller model")
            try:
                _load_external(tensor, path.parent)
            except OSError as error:
                refuse(f"the data of tensor {tensor.name[:80]!r} cannot be read: {error.strerror}")
    return model


def external_files(path: Path) -> list[Path]:
    """The files beside `path` that it says its weights lie in; raises as `read_onnx` does for the file."""
    tensors = parse(_read(path), path).graph.initializer
    entries = (entry for tensor in tensors for entry in tensor.external_data if entry.key == "location")
    return sorted({path.parent / entry.value for entry in entries})


def parse(content: bytes, path: Path) -> onnx.ModelProto:
    """A model from the bytes of `path`; it must hold a graph.

    Raises:
        ArtifactError: the bytes are not an ONNX model.
    """
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ArtifactError(
            f"{path} is truncated or not an ONNX model ({one_line(error, 100)}); export it again"
        ) from error
    if not model.graph.node and not model.graph.output:
        raise ArtifactError(f"{path} holds no graph; expected an ONNX model. Export it again")
    if not all(isinstance(text, str) for text in _texts(model)):
        raise ArtifactError(f"{path} is not an ONNX model (a name is not UTF-8); export it again")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Whatever should be text; protobuf gives bytes where it is not UTF-8."""
    graph = model.graph
    yield from (model.producer_name, graph.name, *(entry.domain for entry in model.opset_import))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in graph.initializer:
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError(f"{path} is not a file; expected an ONNX model")
        if status.st_size > MAX_FILE_BYTES:
            raise ArtifactError(f"{path} has {status.st_size} bytes; expected at most {MAX_FILE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; check the name") from error


def _load_external(tensor: TensorProto, folder: Path) -> None:
    """Put the bytes from the external file into the tensor."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    wanted, file = tensor_bytes(tensor), _inside(tensor, folder, entries.get("location", ""))
    offset, length = _number(tensor, entries, "offset", 0), _number(tensor, entries, "length", wanted)
    if length != wanted or offset + length > file.stat().st_size:
        refuse(
            f"tensor {tensor.name[:80]!r} needs {wanted} bytes but names {length} at {offset} of {file}, "
            f"which has {file.stat().st_size}"
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(wanted)
    del tensor.external_data[:]
    tensor.ClearField("data_location")


def _number(tensor: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        refuse(f"tensor {tensor.name[:80]!r} has external {key} {text!r}; expected a count of bytes")
    return int(text)


def _inside(tensor: TensorProto, folder: Path, location: str) -> Path:
    """The external file, if it is a plain file below `folder` and no step on the way is a link."""
    parts = PurePosixPath(location).parts
    allowed = "expected a relative path inside the model's own folder, without links"
    if (
        not parts
        or "\0" in location
        or len(location) > MAX_NAME
        or "\\" in location
        or ".." in parts
        or parts[0] == "/"
    ):
        refuse(
            f"tensor {tensor.name[:80]!r} has its data at {location[:80]!r}; {allowed}", "move the data there"
        )
    file = folder
    for part in parts:
        file = file / part
        if file.is_symlink():
            refuse(
                f"tensor {tensor.name[:80]!r} has its data at {location[:80]!r}, a link; {allowed}",
                "copy the data there",
            )
    if not file.is_file():
        refuse(
            f"tensor {tensor.name[:80]!r} has its data in {file}, which is not there",
            "copy it beside the model",
        )
    return file
