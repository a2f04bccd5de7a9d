"""What a single converted file says of where it comes from."""

import hashlib
from pathlib import Path

import onnx

from edgepress.files import opened
from edgepress.graph.about import MADE_BY, as_text, said, values
from edgepress.graph.normalise.limits import MAX_FILE_BYTES
from edgepress.standalone.request import Request

_DIGITS, _BLOCK_BYTES = 16, 2**20


def origin(request: Request, read: onnx.ModelProto) -> dict[str, str]:
    """What the file's own model says, or else its name and text, and how it is converted."""
    own = said(read)
    made = values(own, MADE_BY)
    if made:
        own.pop("version", None)  # is one of this project, and follows from what made the network
    options = [f"--quant {request.quant}"] if request.quant != "none" else []
    options += ["--per-tensor"] if request.per_tensor else []
    options += [f"--io-dtype {request.io_dtype}"] if request.io_dtype != "auto" else []
    options += ["--keep-shape"] if request.keep_shape else []
    options += [f"--layout {layout}" for layout in request.layouts]
    options += [] if request.batch is None else [f"--batch {request.batch}"]
    options += [f"--input-shape {given}" for given in request.input_shapes]
    options += ["--outputs", *request.outputs] if request.outputs else []
    made["convert"] = " ".join([request.source.name, f"(sha256 {_digest(request.source)})", *options])
    told = {"name": request.source.stem, "description": read.doc_string}
    return {**told, **own, MADE_BY: as_text(made)}


def _digest(path: Path) -> str:
    """The first digits of the SHA-256 of a file; weights beside it are not looked at."""
    digest = hashlib.sha256()
    with opened(path, MAX_FILE_BYTES) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:_DIGITS]
