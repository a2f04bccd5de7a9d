"""A lowered network without what its operators do by themselves, and without what nobody reads."""

from edgepress.convert.writer.graph import Graph, Operator, Tensor
from edgepress.convert.writer.many_axes import MOST

_FUSING = (
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL",
    "SUB",
)  # fmt: skip
"""Operators that clamp what they make, as their option `fused_activation_function` says."""

_CLAMPING = ("RELU", "RELU6", "RELU_N1_TO_1")


def simplified(graph: Graph) -> Graph:
    """The same network in fewer operators, and likewise all networks within it."""
    for each in graph.whole():
        _simplify(each)
    return graph


def _simplify(graph: Graph) -> None:
    _fuse_activations(graph)
    _leave_out_flattening(graph)
    _leave_out_rows(graph)
    graph.operators = _read(graph)


def _fuse_activations(graph: Graph) -> None:
    """Clamp within what makes the operand, where nothing else reads that and the types are alike."""
    readers, makers = graph.readers(), _makers(graph)
    kept, ends = list[Operator](), {id(tensor) for tensor in graph.outputs}
    for operator in graph.operators:
        x = operator.inputs[0] if operator.inputs else None
        maker = makers.get(id(x))
        if (
            operator.kind in _CLAMPING
            and x is not None
            and maker is not None
            and maker.kind in _FUSING
            and "activation" not in maker.options
            and len(readers[id(x)]) == 1
            and id(x) not in ends
            and x.dtype in ("float32", "int8", "int16")
            and _alike(x, operator.outputs[0])
        ):
            maker.options["activation"] = operator.kind
            maker.outputs, maker.nodes = operator.outputs, [*maker.nodes, *operator.nodes]
            makers[id(operator.outputs[0])] = maker
        else:
            kept.append(operator)
    graph.operators = kept


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.codes is other.codes is None or (one.codes is not None and one.codes.same(other.codes))


def _leave_out_flattening(graph: Graph) -> None:
    """A dense layer takes the rows of any tensor: it needs no reshape that joins its axes."""
    makers = _makers(graph)
    for operator in graph.operators:
        x = operator.inputs[0] if operator.inputs else None
        maker = makers.get(id(x))
        if operator.kind != "FULLY_CONNECTED" or operator.options.get("keep_num_dims") or maker is None:
            continue
        source = maker.inputs[0]
        if (
            maker.kind == "RESHAPE"
            and source is not None
            and len(source.shape) <= MOST
            and x is not None
            and source.shape[:1] == x.shape[:1]
        ):
            operator.inputs[0] = source


def _leave_out_rows(graph: Graph) -> None:
    """A dense layer between the reshape to rows and the one back takes the tensor as it is."""
    makers, readers = _makers(graph), graph.readers()
    ends = {id(tensor) for tensor in graph.outputs}
    for operator in graph.operators:
        x = operator.inputs[0] if operator.kind == "FULLY_CONNECTED" else None
        maker, made = makers.get(id(x)), operator.outputs[0]
        following = readers.get(id(made), [])
        if maker is None or maker.kind != "RESHAPE" or len(following) != 1 or id(made) in ends:
            continue
        source, result = maker.inputs[0], following[0].outputs[0]
        if (
            following[0].kind != "RESHAPE"
            or source is None
            or x is None
            or not 3 <= len(source.shape) <= MOST
        ):
            continue
        if result.shape[:-1] == source.shape[:-1] and source.shape[-1] == x.shape[-1]:
            operator.inputs[0], operator.outputs = source, [result]
            operator.options["keep_num_dims"] = True
            following[0].outputs = [made]


def _read(graph: Graph) -> list[Operator]:
    """The operators whose results are read, or are outputs."""
    needed, kept = {id(tensor) for tensor in graph.outputs}, list[Operator]()
    for operator in reversed(graph.operators):
        if any(id(tensor) in needed for tensor in operator.outputs):
            needed |= {id(tensor) for tensor in operator.inputs}
            kept.append(operator)
    return kept[::-1]


def _makers(graph: Graph) -> dict[int, Operator]:
    return {id(tensor): operator for operator in graph.operators for tensor in operator.outputs}
