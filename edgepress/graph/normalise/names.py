"""Names of tensors and nodes: each once, and for TensorFlow in its form."""

import re
from collections.abc import Callable

import onnx

_VALID = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./-]*")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def name_each_node_once(model: onnx.ModelProto) -> None:
    """Call nodes without a name of their own by what they make, in place."""
    taken: set[str] = set()
    for node in model.graph.node:
        names = [name for name in (node.name, *node.output) if name]
        node.name = _free(next((name for name in names if name not in taken), names[0]), taken)


def make_names_valid(model: onnx.ModelProto) -> None:
    """Rename in place what TensorFlow would refuse; what is valid and alone keeps its name.

    The input and outputs become identifiers, since a signature's names are.
    """
    graph = model.graph
    ends = [entry.name for entry in (*graph.input, *graph.output)]
    tensors = [*ends, *(t.name for t in graph.initializer), *(n for node in graph.node for n in node.output)]
    tensors = [name for name in dict.fromkeys(tensors) if name]
    known = set(ends)
    renamed = _renamed(tensors, lambda name: _identifier(name) if name in known else _valid(name))
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        entry.name = renamed.get(entry.name, entry.name)
    taken: set[str] = set()
    for i, node in enumerate(graph.node):
        node.name = _free(_valid(node.name or f"{node.op_type}_{i}"), taken)


def _renamed(names: list[str], valid: Callable[[str], str]) -> dict[str, str]:
    taken = {name for name in names if valid(name) == name}
    return {name: name if valid(name) == name else _free(valid(name), taken) for name in names}


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken; it then is."""
    free, number = name, 1
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def _valid(name: str) -> str:
    if _VALID.fullmatch(name):
        return name
    return re.sub(r"^[^A-Za-z0-9.]+", "", re.sub(r"[^A-Za-z0-9_./-]", "_", name)) or "tensor"


def _identifier(name: str) -> str:
    if _IDENTIFIER.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name).lstrip("_")
    return plain if plain[:1].isalpha() else f"tensor_{plain}".rstrip("_")
