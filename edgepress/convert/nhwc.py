"""The default converter: the project's own translator, NHWC throughout, with the ONNX model's ranges."""

from collections.abc import Mapping

import onnx

from edgepress.convert.pieces import Pieces
from edgepress.convert.writer.table import write, write_resizable
from edgepress.datasets.prepared import Array
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import NumberFormat, number_format, to_float
from edgepress.graph.input_scaling import without_scaling
from edgepress.graph.normalise.normalise import with_sizes
from edgepress.graph.normalise.trials import trials
from edgepress.graph.products import add_rows_at_products
from edgepress.graph.shapes import BATCH, open_sizes
from edgepress.graph.stored_codes import with_dequantize
from edgepress.graph.ties import without_raised_halves
from edgepress.translate.absorbing import absorbed
from edgepress.translate.layout import Order
from edgepress.translate.plan import Plan
from edgepress.translate.planner import RefusedNodeError
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

    Sizes that the model leaves open stay open; the batch does where that costs no operator, else it is 1.
    """
    form, prepared = number_format(model), _prepared(model)
    try:
        return _written(prepared, form, int8_io, orders, about)
    except UnsupportedModelError:
        if BATCH not in open_sizes(model):
            raise
    return _written(_of_one_sample(prepared), form, int8_io, orders, about)


def _of_one_sample(prepared: onnx.ModelProto) -> onnx.ModelProto:
    """The prepared model, in which codes of weights lie behind DequantizeLinear, which folding leaves."""
    return with_sizes(prepared, {BATCH: 1})


def _written(
    prepared: onnx.ModelProto,
    form: NumberFormat,
    int8_io: bool,
    orders: Orders | None,
    about: Mapping[str, str] | None,
) -> Pieces:
    if set(open_sizes(prepared)) <= {BATCH}:
        return write(absorbed(plan_graph(prepared, orders)), form, int8_io, about=about)
    if len(choices := trials(prepared)) == 1:
        settled = with_sizes(prepared, _but_the_batch(choices[0].sizes))
        return _written(settled, form, int8_io, orders, about)
    plans = [absorbed(plan_graph(prepared, orders, trial)) for trial in choices]
    return write_resizable(plans, form, int8_io, about)


def _but_the_batch(sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: size for name, size in sizes.items() if name != BATCH}


def why_not(model: onnx.ModelProto) -> str:
    """Why a model cannot be a `.tflite`, as far as planning shows it; '' if it can."""
    try:
        planned(model)
    except RefusedNodeError as error:
        return f"the translator cannot take node {error.what}"
    except UnsupportedModelError as error:
        return str(error)
    return ""


def planned(model: onnx.ModelProto, orders: Orders | None = None) -> Plan:
    """The plan of a model in any number format, for one choice of what it leaves open.

    Raises:
        UnsupportedModelError: it holds something that the translator cannot take.
    """
    prepared = _prepared(model)
    try:
        return _planned(prepared, orders)
    except UnsupportedModelError:
        if BATCH not in open_sizes(model):
            raise
    return _planned(_of_one_sample(prepared), orders)


def _planned(prepared: onnx.ModelProto, orders: Orders | None) -> Plan:
    fixed = set(open_sizes(prepared)) <= {BATCH}
    return plan_graph(prepared, orders, None if fixed else trials(prepared)[0])


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    form, model = number_format(model), without_raised_halves(model)
    floats = form in ("dynamic", "fp16", "int8_weights")
    plain = to_float(model, keep_codes=True) if floats else with_dequantize(model)
    folded = fold_batchnorm(plain)
    if form == "float32":
        folded = without_scaling(folded).model
    add_rows_at_products(folded)
    return folded
