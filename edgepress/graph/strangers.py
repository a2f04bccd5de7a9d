"""Operators that onnx has no definition of, for where they are allowed: they become custom operators.

Nothing tells the shapes of what they make but the file's own `value_info`, which is kept for them alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import onnx

from edgepress.errors import is_single_file
from edgepress.graph.view import all_nodes

UNKNOWN = "ai.onnx.unknown"
"""The domain here of operators that are said to be ONNX's own, but are not known to it."""

_ALLOWED: ContextVar[bool] = ContextVar("strangers allowed", default=False)


@contextmanager
def strangers_allowed(allowed: bool = True) -> Iterator[None]:
    """Until this context ends, what has no translation becomes a custom operator of TFLite."""
    token = _ALLOWED.set(allowed)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def are_strangers_allowed() -> bool:
    """Whether what has no translation becomes a custom operator."""
    return _ALLOWED.get()


def is_stranger(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether onnx has no definition of a node's operator in the model's opsets."""
    versions = {_plain(entry.domain): entry.version for entry in model.opset_import}
    version = versions.get(_plain(node.domain), 0)
    try:
        onnx.defs.get_schema(node.op_type, max_inclusive_version=version, domain=_plain(node.domain))
    except onnx.defs.SchemaError:
        return True
    return False


def set_strangers_apart(model: onnx.ModelProto) -> None:
    """Give unknown operators of ONNX's own domain another, in place, and import all strangers' domains."""
    known = {_plain(entry.domain) for entry in model.opset_import}
    for node in all_nodes(model.graph):
        if not is_stranger(model, node):
            continue
        node.domain = node.domain if _plain(node.domain) else UNKNOWN
        if node.domain not in known:
            model.opset_import.append(onnx.helper.make_opsetid(node.domain, 1))
            known.add(node.domain)


def keep_declared(model: onnx.ModelProto) -> None:
    """Drop what the model notes of shapes, in place, but for what strangers make where they are allowed."""
    made = _made_by_strangers(model)
    kept = [
        onnx.ValueInfoProto.FromString(info.SerializeToString())
        for info in model.graph.value_info
        if info.name in made
    ]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def forget_outputs(model: onnx.ModelProto) -> None:
    """Drop what the model says of its outputs' shapes, in place, but for what strangers make as above.

    An output that is an input keeps the input's.
    """
    made = _made_by_strangers(model) | {entry.name for entry in model.graph.input}
    for output in model.graph.output:
        if output.name not in made:
            output.type.tensor_type.ClearField("shape")


def _made_by_strangers(model: onnx.ModelProto) -> set[str]:
    if not are_strangers_allowed():
        return set()
    return {name for node in model.graph.node if is_stranger(model, node) for name in node.output}


def or_allow_custom() -> str:
    """The rest of a remedy for what TFLite has no operator of its own for."""
    offered = is_single_file() and not are_strangers_allowed()
    return ", or make custom operators of them: --allow-custom" if offered else ""


def called(node: onnx.NodeProto) -> str:
    """An operator by name, with its domain if that is not ONNX's own."""
    if node.domain == UNKNOWN:
        return f"ai.onnx.{node.op_type}"
    return f"{node.domain}.{node.op_type}" if _plain(node.domain) else node.op_type


def custom_name(op: str) -> str:
    """What a custom operator is called: with its domain in any case."""
    return op if "." in op else f"ai.onnx.{op}"


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
