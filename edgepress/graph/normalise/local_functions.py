"""Functions that a model defines itself, written out where they are called."""

from collections.abc import Iterable, Iterator

import onnx
import onnx.inliner

from edgepress.graph.normalise.function_opsets import tell_one_opset, write_marked
from edgepress.graph.normalise.limits import MAX_NODES, refuse
from edgepress.graph.shapes import without_weights
from edgepress.graph.view import all_nodes, nested_graphs
from edgepress.text import one_line

Key = tuple[str, str, str]


def inline_functions(model: onnx.ModelProto) -> None:
    """Write each call of a function of the model's own, in place, as the function's nodes.

    Raises:
        UnsupportedModelError: functions call each other in a circle, or come to very many nodes, or a call
            does not fit its function, or one in another opset cannot be written in the model's.
    """
    if not model.functions:
        return
    functions = {(each.domain, each.name, each.overload): each for each in model.functions}
    if len(functions) < len(model.functions):
        refuse("the model defines a function twice")
    _check_calls(model, functions)
    version = tell_one_opset(model)
    light, _ = without_weights(model)
    light.functions.extend(model.functions)
    try:
        inlined = onnx.inliner.inline_local_functions(light)
    except (RuntimeError, ValueError) as error:
        refuse(f"its functions cannot be written out: {one_line(error, 200)}")
    del model.graph.node[:]
    model.graph.node.extend(inlined.graph.node)
    del model.opset_import[:]
    model.opset_import.extend(inlined.opset_import)
    del model.functions[:]
    write_marked(model.graph, version)


def _check_calls(model: onnx.ModelProto, functions: dict[Key, onnx.FunctionProto]) -> None:
    """What native code is not asked to find out: circles, sizes, and calls with too many operands."""
    sizes = dict[Key, int]()
    waiting = list(functions)
    open_calls = set[Key]()
    while waiting:
        key = waiting[-1]
        if key in sizes:
            waiting.pop()
            continue
        called = [call for call, _ in _calls(functions[key].node, functions)]
        unknown = [call for call in called if call not in sizes]
        if not unknown:
            sizes[key] = _size(functions[key].node, functions, sizes)
            open_calls.discard(key)
            waiting.pop()
        elif key in open_calls:
            refuse(f"its function {one_line(key[1], 80)!r} calls itself")
        else:
            open_calls.add(key)
            waiting.extend(unknown)
    _size(model.graph.node, functions, sizes)


def _size(
    nodes: Iterable[onnx.NodeProto], functions: dict[Key, onnx.FunctionProto], sizes: dict[Key, int]
) -> int:
    """How many nodes these are once all calls are written out."""
    total, calls = 0, list(_calls(nodes, functions))
    for node in nodes:
        total += 1 + sum(1 for graph in nested_graphs(node) for _ in all_nodes(graph))
    for key, node in calls:
        function = functions[key]
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            refuse(f"node {one_line(node.name, 80)!r} does not fit the function {one_line(key[1], 80)!r}")
        total += sizes[key]
        if total > MAX_NODES:
            refuse(f"its functions come to more than {MAX_NODES} nodes", "use a smaller model")
    return total


def _calls(
    nodes: Iterable[onnx.NodeProto], functions: dict[Key, onnx.FunctionProto]
) -> Iterator[tuple[Key, onnx.NodeProto]]:
    """The calls of functions among nodes, also in nested graphs."""
    for node in nodes:
        key = (node.domain, node.op_type, node.overload)
        if key in functions:
            yield key, node
        for graph in nested_graphs(node):
            yield from _calls(graph.node, functions)
