"""From a plan's step to the rule that lowers it, and the whole way from a plan to a file."""

from collections.abc import Mapping

from edgepress.convert.pieces import Pieces
from edgepress.convert.writer import activations, elementwise, layers, moving, products, reductions
from edgepress.convert.writer.file import to_pieces
from edgepress.convert.writer.graph import Graph
from edgepress.convert.writer.halves import halved
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.convert.writer.metadata import explained
from edgepress.convert.writer.simplify import simplified
from edgepress.graph.formats import NumberFormat
from edgepress.translate.plan import Plan

RULES: dict[str, Rule] = {
    **layers.RULES,
    **activations.RULES,
    **elementwise.RULES,
    **moving.RULES,
    **reductions.RULES,
    **products.RULES,
}


def write(
    plan: Plan,
    number_format: NumberFormat = "float32",
    int8_io: bool = False,
    batch: int = 1,
    about: Mapping[str, str] | None = None,
) -> Pieces:
    """The plan as the content of a `.tflite`, with `batch` samples where their number is open.

    int8 is where the plan quantises. Else `number_format` says how constants are stored: fp16 ones are made
    float32 by the runtime, and `dynamic` layers with kernels in codes quantise what comes in as they run.
    `about` is what the file says of the network, as `edgepress.graph.about` has it.
    """
    graph = lowered(plan, number_format, int8_io, batch)
    graph = halved(graph) if number_format == "fp16" else graph
    return explained(graph, about) if about else to_pieces(graph)


def lowered(
    plan: Plan, number_format: NumberFormat = "float32", int8_io: bool = False, batch: int = 1
) -> Graph:
    """The plan as a network of TFLite's operators; `write` says the rest."""
    return simplified(Lowering(plan, RULES, batch, number_format == "dynamic").lower(int8_io))
