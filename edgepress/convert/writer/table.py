"""From a plan's step to the rule that lowers it, and the whole way from a plan to a file."""

from collections.abc import Mapping, Sequence

from edgepress.convert.pieces import Pieces
from edgepress.convert.writer import (
    activations,
    control,
    custom,
    elementwise,
    layers,
    moving,
    numbers,
    picking,
    products,
    recurrent,
    reductions,
    sized,
)
from edgepress.convert.writer.file import to_pieces
from edgepress.convert.writer.graph import Graph
from edgepress.convert.writer.halves import halved
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.convert.writer.many_axes import refuse_too_many_axes
from edgepress.convert.writer.metadata import explained
from edgepress.convert.writer.resizable import NotResizableError, resizable
from edgepress.convert.writer.simplify import simplified
from edgepress.graph.formats import NumberFormat
from edgepress.translate.plan import Plan

RULES: dict[str, Rule] = {
    **layers.RULES,
    **activations.RULES,
    **elementwise.RULES,
    **numbers.RULES,
    **moving.RULES,
    **picking.RULES,
    **reductions.RULES,
    **products.RULES,
    **sized.RULES,
    **control.RULES,
    **custom.RULES,
    **recurrent.RULES,
}


def write(
    plan: Plan,
    number_format: NumberFormat = "float32",
    int8_io: bool = False,
    batch: int = 1,
    about: Mapping[str, str] | None = None,
) -> Pieces:
    """The plan as the content of a `.tflite`, with `batch` samples where their number is open.

    The file takes any number of samples where that costs no operator.

    int8 is where the plan quantises. Else `number_format` says how constants are stored: fp16 ones are made
    float32 by the runtime, and `dynamic` layers with kernels in codes quantise what comes in as they run.
    `about` is what the file says of the network, as `edgepress.graph.about` has it.
    """
    sizes = (batch, batch + 1) if any(None in entry.shape for entry in plan.entries) else (batch,)
    graphs = [lowered(plan, number_format, int8_io, size) for size in sizes]
    try:
        graph = resizable(graphs, computed=False)
    except NotResizableError:
        graph = lowered(plan, number_format, int8_io, batch)
    return _written(graph, number_format, about)


def write_resizable(
    plans: Sequence[Plan],
    number_format: NumberFormat = "float32",
    int8_io: bool = False,
    about: Mapping[str, str] | None = None,
) -> Pieces:
    """Plans of one network, for several choices of its open sizes, as a `.tflite` that takes any of them.

    Raises:
        NotResizableError: something in the network depends on the sizes and cannot be computed as it runs.
    """
    graphs = [lowered(plan, number_format, int8_io, any_size=True) for plan in plans]
    return _written(resizable(graphs), number_format, about)


def _written(graph: Graph, number_format: NumberFormat, about: Mapping[str, str] | None) -> Pieces:
    refuse_too_many_axes(graph)
    graph = halved(graph) if number_format == "fp16" else graph
    return explained(graph, about) if about else to_pieces(graph)


def lowered(
    plan: Plan,
    number_format: NumberFormat = "float32",
    int8_io: bool = False,
    batch: int = 1,
    any_size: bool = False,
) -> Graph:
    """The plan as a network of TFLite's operators; `write` says the rest.

    With `any_size` its sizes are one choice of several, and nothing is made that suits this choice alone.
    """
    lowering = Lowering(plan, RULES, batch, number_format == "dynamic")
    lowering.build.any_size = any_size
    return simplified(lowering.lower(int8_io))
