"""The default converter: the project's own translator, NHWC throughout, with the ONNX model's ranges."""

from collections.abc import Mapping

import onnx

from edgepress.convert.pieces import Pieces
from edgepress.convert.writer.table import write
from edgepress.datasets.prepared import Array
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import number_format, to_float
from edgepress.graph.input_scaling import without_scaling
from edgepress.graph.products import add_rows_at_products
from edgepress.graph.stored_codes import with_dequantize
from edgepress.translate.absorbing import absorbed
from edgepress.translate.layout import Order
from edgepress.translate.plan import Plan
from edgepress.translate.planning import plan_graph

Orders = Mapping[str, Order]


def convert(
    model: onnx.ModelProto,
    int8_io: bool,
    calibration: Array,
    orders: Orders | None = None,
    about: Mapping[str, str] | None = None,
) -> Pieces:
    """ONNX → TFLite with images in NHWC; quantised exactly as the ONNX model is: `calibration` is not read.

    `orders` says how the axes of inputs and outputs are stored, as in `plan_graph`, and `about` what the file
    tells of the network, as `edgepress.graph.about` has it. Inputs and outputs keep their names and order.
    """
    return write(absorbed(planned(model, orders)), number_format(model), int8_io, about=about)


def planned(model: onnx.ModelProto, orders: Orders | None = None) -> Plan:
    """The plan of a model in any number format."""
    form = number_format(model)
    floats = form in ("dynamic", "fp16", "int8_weights")
    plain = to_float(model, keep_codes=True) if floats else with_dequantize(model)
    folded = fold_batchnorm(plain)
    if form == "float32":
        folded = without_scaling(folded).model
    add_rows_at_products(folded)
    return plan_graph(folded, orders)
