"""What the tensors of a `.tflite` are called: by the ONNX nodes whose work makes them.

A network's inputs and outputs have its own names, and constants those of their initializers. What an operator
makes is called by the nodes that the operator does the work of, joined by `;`, as `conv1;relu1`. Where more
operators do the work of one node, the last one has the plain name, and the others, such as its padding, have
`;.` and their kind behind it: `conv1;.pad`. No two computed tensors have one name, since to some tools these
are keys. What quantisation appends to names is left out: files are smaller, and read as in float32.

The tensor that is an output does not tell its nodes; `nodes_of_ends` does.
"""

from collections import Counter
from collections.abc import Iterable

from edgepress.convert.writer.graph import Graph, Operator

_OF_CODES = ("_quantized", "_QuantizeLinear_Input", "_DequantizeLinear_Output", "_QuantizeLinear_Output")
_OF_NODES = ("_QuantizeLinear", "_DequantizeLinear")


def names_of(graph: Graph) -> dict[int, str]:
    """The name of each tensor, by its id."""
    ends = [*zip(graph.inputs, graph.input_names, strict=True)]
    if graph.output_names:  # those of a network within an operator are called by their nodes
        ends += zip(graph.outputs, graph.output_names, strict=True)
    names = {id(tensor): name for tensor, name in ends}
    for operator in graph.operators:
        for tensor in operator.inputs:
            if tensor is not None and tensor.constant:
                names.setdefault(id(tensor), _without(tensor.name, _OF_CODES))
    taken, counts, done = set(names.values()), Counter[str](), set[str]()
    for operator in reversed(graph.operators):
        helps = done.issuperset(operator.nodes)
        for tensor in operator.outputs:
            if id(tensor) not in names:
                names[id(tensor)] = _free(operator, helps, taken, counts)
                taken.add(names[id(tensor)])
        done.update(operator.nodes)
    return names


def nodes_of_ends(graph: Graph) -> dict[int, str]:
    """The nodes of each operator that makes outputs and of which these do not tell them, by its place."""
    ends = {id(tensor): name for tensor, name in zip(graph.outputs, graph.output_names, strict=True)}
    return {
        place: nodes(operator)
        for place, operator in enumerate(graph.operators)
        if id(operator.outputs[0]) in ends and ends[id(operator.outputs[0])] != nodes(operator)
    }


def nodes(operator: Operator) -> str:
    """The nodes whose work an operator does, and what is told besides."""
    told = dict.fromkeys(_without(node, _OF_NODES) for node in operator.nodes)
    return ";".join([*told, *filter(None, [operator.note])])


def _free(operator: Operator, helps: bool, taken: set[str], counts: Counter[str]) -> str:
    plain = nodes(operator)
    name = "" if helps else plain
    while not name or name in taken:
        marked = f"{plain};.{operator.kind.lower()}"
        counts[marked] += 1
        name = marked if counts[marked] == 1 else f"{marked}{counts[marked]}"
    return name


def _without(name: str, suffixes: Iterable[str]) -> str:
    for suffix in suffixes:
        name = name.removesuffix(suffix)
    return name
