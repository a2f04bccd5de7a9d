"""The classic path: onnx-tf, archived but kept working, and TensorFlow's own quantisation after it.

onnx-tf keeps ONNX's NCHW and puts transposes around what TensorFlow's CPU kernels run in NHWC. It does not
understand QDQ, so an int8 model goes in with its weights dequantised (their largest codes give
TensorFlow the same scales again) and its ranges are found anew from the calibration inputs.
"""

import tempfile
from collections.abc import Mapping
from typing import Any

import onnx

from edgepress.convert.onnx_tf_compat import prepare
from edgepress.convert.pieces import Pieces
from edgepress.convert.tflite import representative, run, set_format, with_output_names
from edgepress.datasets.prepared import Array
from edgepress.errors import ConfigError, ConversionError, DataError, UnsupportedModelError, setting
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import number_format, restore_activations, to_float
from edgepress.graph.kept_floats import float_joins
from edgepress.graph.normalise.names import make_names_valid
from edgepress.translate.tensorflow_setup import quiet, tf

NEWEST_OPSET = 15

_OWN, _OTHER = ("convert", "onnx_tf"), ("convert", "nhwc")
_FORMATS = ("float32", "fp16", "dynamic", "int8")


def convert(
    model: onnx.ModelProto,
    int8_io: bool,
    calibration: Array,
    orders: Mapping[str, tuple[int, ...]] | None = None,
    about: Mapping[str, str] | None = None,
) -> Pieces:
    """ONNX → TFLite with NCHW input: all axes are as in ONNX; the file says nothing `about` the network.

    Raises:
        ConfigError: `orders` wants them otherwise.
        DataError: an int8 model without calibration inputs.
        UnsupportedModelError: an int8 model in which a join stays in floats, or one in another number format
            than these.
    """
    form = number_format(model)
    if form not in _FORMATS:
        raise UnsupportedModelError(
            f"{setting(*_OWN)} cannot write {form}; expected one of: {', '.join(_FORMATS)}. "
            f"Use {setting(*_OTHER)}"
        )
    if moved := [name for name, order in (orders or {}).items() if list(order) != sorted(order)]:
        raise ConfigError(
            f"{setting(*_OWN)} keeps the axes of {', '.join(map(repr, moved))} as they are in the model; "
            f"expected no other order, or {setting(*_OTHER)}"
        )
    if form == "int8" and not len(calibration):
        raise DataError(
            f"{setting(*_OWN)} has to calibrate an int8 model but the calibration split is empty; "
            f"raise data.splits.calibration or use {setting(*_OTHER)}"
        )
    if joins := float_joins(model):
        raise UnsupportedModelError(
            f"{setting(*_OWN)} joins in int8 what has no range in common: {joins[0]}; use {setting(*_OTHER)}"
            ", or give the network outputs of their own for what differs in magnitude"
        )
    source = fold_batchnorm(restore_activations(to_float(model), model))
    make_names_valid(source)
    with tempfile.TemporaryDirectory() as folder:
        export(_static(source), folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        set_format(converter, form, int8_io)
        if form == "int8":
            converter.representative_dataset = representative(calibration)
        content = run(converter, "onnx_tf")
    valid, names = ([output.name for output in each.graph.output] for each in (source, model))
    return Pieces([content if len(names) == 1 else with_output_names(content, valid, names)])


def _static(model: onnx.ModelProto) -> onnx.ModelProto:
    """Batch 1, as the `.tflite` has it: onnx-tf computes with shapes that it knows."""
    fixed = onnx.ModelProto.FromString(model.SerializeToString())
    for info in [*fixed.graph.input, *fixed.graph.output]:
        info.type.tensor_type.shape.dim[0].dim_value = 1
    del fixed.graph.value_info[:]
    return fixed


def _downgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset <= NEWEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, NEWEST_OPSET)
    except Exception as error:  # the C++ converter raises RuntimeError and its own types
        raise UnsupportedModelError(
            f"onnx-tf understands opsets up to {NEWEST_OPSET} and this model of opset {opset} cannot be "
            f"written in it ({str(error).splitlines()[0]}); use {setting(*_OTHER)}"
        ) from error


def export(model: onnx.ModelProto, folder: str) -> None:
    """Write a TensorFlow SavedModel with the model's own names of inputs and outputs.

    Raises:
        UnsupportedModelError: the model's opset is too new and cannot be lowered.
        ConversionError: onnx-tf cannot translate the network.
    """
    older = _downgraded(model)
    try:
        with quiet():
            representation: Any = prepare(older)
            representation.export_graph(folder)
    except (
        Exception
    ) as error:  # onnx-tf raises whatever its handlers meet; a traced error ends with its cause
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ConversionError(
            f"onnx-tf cannot translate this network: {lines[-1][:300]}; use {setting(*_OTHER)}"
        ) from error
