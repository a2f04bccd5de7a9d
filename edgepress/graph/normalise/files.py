"""Reading an ONNX file that nobody vouches for, with the external data that lies beside it."""

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from edgepress.errors import ArtifactError, UnsupportedModelError
from edgepress.files import mapped, opened, opened_below, read
from edgepress.graph.aside import are_put_aside, note_file, put_aside
from edgepress.graph.normalise.bulk import require_proportion
from edgepress.graph.normalise.lightening import lightened
from edgepress.graph.normalise.limits import MAX_BESIDE_BYTES, MAX_FILE_BYTES, MAX_NAME, refuse
from edgepress.graph.normalise.tensors import tensor_bytes
from edgepress.text import one_line

_ALLOWED = "expected a relative path inside the model's own folder, without links"
_LARGE_BYTES = 2**20
_SHARED = 2
"""How often the bytes beside a model may be read: some exporters let two tensors share theirs."""


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse a file and load its external data, which must lie inside the file's own folder.

    Within `weights_aside`, large float32 weights are held beside the model.

    Raises:
        ArtifactError: the file is absent, no regular file, too large, truncated or not ONNX.
        UnsupportedModelError: external data is missing, too short, or points out of the folder.
    """
    content = _read(path)
    light, heavy = lightened(content) if are_put_aside() else (content, {})
    model = parse(bytes(light), path, len(content))
    del content, light
    held = model.graph.initializer
    elsewhere = [place for place, each in enumerate(held) if each.data_location == TensorProto.EXTERNAL]
    tensors = [held[place] for place in elsewhere]
    locations = [_location(tensor) for tensor in tensors]
    sizes = dict[str, int]()
    wanted = 0
    for tensor, parts in zip(tensors, locations, strict=True):
        with _opened(tensor, path.parent, parts) as file:
            sizes["/".join(parts)] = size = os.fstat(file.fileno()).st_size
            wanted += tensor_bytes(tensor)
            if wanted > min(_most_bytes(), _SHARED * sum(sizes.values())):
                refuse(
                    f"the tensors up to {tensor.name[:80]!r} take {wanted} bytes of external data, of which "
                    f"there are {sum(sizes.values())}",
                    "use a smaller model, or export it again",
                )
            _load_external(tensor, file, size, path.parent.joinpath(*parts))
    for place in heavy.keys() - elsewhere:
        _give(held[place], heavy[place])
    return model


def _most_bytes() -> int:
    return MAX_BESIDE_BYTES if are_put_aside() else MAX_FILE_BYTES


def external_files(path: Path) -> list[Path]:
    """The files beside `path` that it says its weights lie in; raises as `read_onnx` does for the file."""
    content = bytes(_read(path))
    tensors = parse(content, path, len(content)).graph.initializer
    located = [tensor for tensor in tensors if "location" in _entries(tensor)]
    return sorted({path.parent.joinpath(*_location(tensor)) for tensor in located})


def parse(content: bytes, path: Path, size: int) -> onnx.ModelProto:
    """A model from the bytes of `path`, which has `size` of them; it must hold a graph.

    Raises:
        ArtifactError: the bytes are not an ONNX model.
    """
    try:
        require_proportion(content, size)
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, ValueError) as error:
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


def _read(path: Path) -> bytes | memoryview:
    """The content of a file; of a large one whose weights are put aside, without a copy."""
    try:
        if are_put_aside():
            with opened(path, MAX_FILE_BYTES) as file:
                if (size := os.fstat(file.fileno()).st_size) > _LARGE_BYTES:
                    return _mapped(file, 0, size)
        return read(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; check the name") from error


def _mapped(file: BufferedReader, offset: int, length: int) -> memoryview:
    memory, content = mapped(file, offset, length)
    note_file(memory)
    return content


def _load_external(tensor: TensorProto, file: BufferedReader, size: int, path: Path) -> None:
    """Put the bytes from the external file into the tensor."""
    entries, wanted = _entries(tensor), tensor_bytes(tensor)
    offset, length = _number(tensor, entries, "offset", 0), _number(tensor, entries, "length", wanted)
    if length != wanted or offset + length > size:
        refuse(
            f"tensor {tensor.name[:80]!r} needs {wanted} bytes but names {length} at {offset} of {path}, "
            f"which has {size}"
        )
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    if are_put_aside() and wanted > _LARGE_BYTES:
        _give(tensor, _mapped(file, offset, wanted))
    else:
        file.seek(offset)
        _give(tensor, file.read(wanted))


def _give(tensor: TensorProto, raw: bytes | memoryview) -> None:
    """Let a tensor without data hold these bytes, or name them as its values if they are put aside."""
    fits = tensor.data_type == TensorProto.FLOAT and not tensor.HasField("data_location")
    if fits and are_put_aside() and tensor_bytes(tensor) == len(raw):
        values = np.frombuffer(raw, "<f4").reshape(list(tensor.dims))
        if put_aside(tensor, values):
            return
    tensor.raw_data = bytes(raw)


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _number(tensor: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        refuse(f"tensor {tensor.name[:80]!r} has external {key} {text[:80]!r}; expected a count of bytes")
    return int(text)


def _location(tensor: TensorProto) -> tuple[str, ...]:
    """The external file's path below the model's folder, in parts."""
    location = _entries(tensor).get("location", "")
    parts = PurePosixPath(location).parts
    plain = "\0" not in location and len(location) <= MAX_NAME and "\\" not in location
    if not parts or not plain or ".." in parts or parts[0].startswith("/"):
        refuse(
            f"tensor {tensor.name[:80]!r} has its data at {location[:80]!r}; {_ALLOWED}",
            "move the data there",
        )
    return parts


def _opened(tensor: TensorProto, folder: Path, parts: tuple[str, ...]) -> BufferedReader:
    what = f"the data of tensor {tensor.name[:80]!r}, {folder.joinpath(*parts)},"
    try:
        return opened_below(folder, parts, _most_bytes(), UnsupportedModelError)
    except (FileNotFoundError, NotADirectoryError):
        refuse(f"{what} is not there", "copy it beside the model")
    except OSError as error:
        refuse(f"{what} cannot be read: {error.strerror}", "check its permissions")
