"""A model and functions of its own that were written in different opsets: brought to one of them."""

from collections.abc import Iterable, Iterator

import onnx
from onnx import helper, version_converter

from edgepress.graph.normalise.limits import refuse
from edgepress.graph.view import all_nodes, nested_graphs
from edgepress.text import one_line

_OWN = ("", "ai.onnx")
_MARK = "edgepress.opset"
"""The domain, before its number, of a node that waits to be written in the model's opset."""

_REMEDY = "export the model with one opset for itself and its functions"

_OTHERWISE_FROM = {
    "BatchNormalization": 9, "GroupNormalization": 21, "Hardmax": 13, "Pad": 11, "Resize": 11,
    "RoiAlign": 16, "Scan": 9, "Upsample": 11,
}  # fmt: skip
"""From which opset on an operator means something that onnx's version converter does not write."""


def tell_one_opset(model: onnx.ModelProto) -> int:
    """Let functions import what the model imports, in place, and mark nodes that mean something else there.

    The opset is the model's; where a function has operators that came later, it is the function's. A node
    is marked before calls are written out, since its attributes may be the function's.

    Returns:
        The opset, for `write_marked`.

    Raises:
        UnsupportedModelError: an operator cannot be written in that opset, or an opset is unknown.
    """
    own = _versions(model.opset_import)
    of_functions = [_versions(function.opset_import) for function in model.functions]
    chosen = dict[str, int]()
    for versions in of_functions:
        for domain, version in versions.items():
            chosen[domain] = own.get(domain, max(version, chosen.get(domain, 0)))
    chosen[""] = max(
        [
            own[""],
            *(_first_fit(f, v, own[""]) for f, v in zip(model.functions, of_functions, strict=True)),
        ]
    )
    chosen = {**own, **chosen}
    _mark(model.graph, own, chosen, "the model")
    for function, versions in zip(model.functions, of_functions, strict=True):
        _mark(function, versions, chosen, f"its function {one_line(function.name, 80)!r}")
        _import(function, {domain: chosen[domain] for domain in versions})
    _import(model, chosen)
    return chosen[""]


def write_marked(graph: onnx.GraphProto, opset: int) -> None:
    """Write each marked node of a graph, and of those within it, in this opset, in place.

    Raises:
        UnsupportedModelError: onnx's version converter cannot.
    """
    marked = [node for node in all_nodes(graph) if _is_marked(node)]
    written = dict[int, list[onnx.NodeProto]]()
    for domain in dict.fromkeys(node.domain for node in marked):
        places = [place for place, node in enumerate(marked) if node.domain == domain]
        before = int(domain.removeprefix(_MARK))
        written.update(zip(places, _raised([marked[i] for i in places], before, opset), strict=True))
    if marked:
        _put(graph, iter([written[place] for place in range(len(marked))]))


def _is_marked(node: onnx.NodeProto) -> bool:
    return str(node.domain).startswith(_MARK)  # protobuf gives bytes for text that is not UTF-8


def _put(graph: onnx.GraphProto, written: Iterator[list[onnx.NodeProto]]) -> None:
    """Replace each marked node by the next of these."""
    nodes = list[onnx.NodeProto]()
    for node in graph.node:
        for nested in nested_graphs(node):
            _put(nested, written)
        nodes.extend(next(written) if _is_marked(node) else [node])
    fresh = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(fresh)


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """The version of each domain."""
    newest = onnx.defs.onnx_opset_version()
    versions = {"" if entry.domain in _OWN else entry.domain: entry.version for entry in imports}
    if not 1 <= versions.get("", 1) <= newest:
        refuse(f"a function's opset is {versions['']}; expected one from 1 to {newest}")
    return versions


def _import(holder: onnx.ModelProto | onnx.FunctionProto, versions: dict[str, int]) -> None:
    del holder.opset_import[:]
    holder.opset_import.extend(helper.make_opsetid(*entry) for entry in versions.items())


def _first_fit(function: onnx.FunctionProto, versions: dict[str, int], opset: int) -> int:
    """The older of the two opsets if it has the same operators, else the functions' own."""
    version = versions.get("", opset)
    fits = version <= opset or all(_since(n, version) == _since(n, opset) for n in all_nodes(function))
    return opset if fits else version


def _since(node: onnx.NodeProto, version: int) -> int | None:
    """The version that brought the operator's definition, None where there is none."""
    domain = "" if node.domain in _OWN else node.domain
    try:
        return int(onnx.defs.get_schema(node.op_type, version, domain).since_version)
    except (onnx.defs.SchemaError, TypeError):  # of no such operator, or a number beyond 32 bits
        return None


def _mark(
    graph: onnx.GraphProto | onnx.FunctionProto,
    versions: dict[str, int],
    chosen: dict[str, int],
    where: str,
) -> None:
    for node in all_nodes(graph):
        domain = "" if node.domain in _OWN else node.domain
        before, after = versions.get(domain, 0), chosen.get(domain, 0)
        if before == after or _since(node, before) in (None, _since(node, after)):
            continue
        otherwise = _OTHERWISE_FROM.get(node.op_type, 0)
        if domain or before < otherwise <= after:
            refuse(
                f"{where} is in version {before} of {domain or 'ai.onnx'}, the rest in {after}, "
                f"where {node.op_type} means something else",
                _REMEDY,
            )
        if not nested_graphs(node) and node.op_type != "Constant" and any(node.output):
            node.domain = f"{_MARK}{before}"


def _raised(nodes: list[onnx.NodeProto], before: int, opset: int) -> list[list[onnx.NodeProto]]:
    """What each of these nodes of one opset is in another; they are written side by side, in one go."""
    apart, names = list[onnx.NodeProto](), dict[str, str]()
    imports, context = [helper.make_opsetid("", before)], onnx.checker.C.CheckerContext()
    context.ir_version, context.opset_imports = onnx.IR_VERSION, {"": before}
    try:
        for number, node in enumerate(nodes):
            apart.append(_set_apart(node, number, names))
            onnx.checker.check_node(apart[-1], context)
        ends = [[onnx.ValueInfoProto(name=n) for n in names if kind in n] for kind in (".input", ".output")]
        graph = helper.make_graph(apart, "nodes", *ends)
        written = version_converter.convert_version(helper.make_model(graph, opset_imports=imports), opset)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        refuse(
            f"what its functions hold in opset {before} cannot be written in {opset}: {one_line(error, 200)}",
            _REMEDY,
        )
    return _shared_out(written.graph.node, nodes, names)


def _set_apart(node: onnx.NodeProto, number: int, names: dict[str, str]) -> onnx.NodeProto:
    """A copy whose tensors nothing else reads or makes; `names` learns what they are called."""
    alone = onnx.NodeProto.FromString(node.SerializeToString())
    alone.domain = ""
    for field, kind in ((alone.input, "input"), (alone.output, "output")):
        for place, name in enumerate(field):
            if name:
                field[place] = f"{number}.{kind}{place}"
                names[field[place]] = name
    return alone


def _shared_out(
    written: Iterable[onnx.NodeProto], nodes: list[onnx.NodeProto], names: dict[str, str]
) -> list[list[onnx.NodeProto]]:
    """What became of each node, by the tensors that it makes or that its own nodes read."""
    made, owners = [list[onnx.NodeProto]() for _ in nodes], dict[str, int]()
    for node in reversed(list(written)):
        owners.update((name, int(name.partition(".")[0])) for name in node.output if name in names)
        if (number := next((owners[name] for name in node.output if name in owners), None)) is None:
            continue
        owners.update((name, number) for name in node.input if name not in names)
        own, stem = nodes[number].name, next(filter(None, nodes[number].output))
        node.name = f"{own or stem}.{len(made[number])}" if made[number] else own
        for field in (node.input, node.output):
            field[:] = [names.get(name, f"{stem}.{name}") if name else "" for name in field]
        made[number].insert(0, node)
    return made
