"""A PyTorch network as an ONNX model."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

import onnx
import onnx_ir as ir
import torch
from onnx import version_converter
from torch import nn

from edgepress.errors import UnsupportedModelError
from edgepress.graph.lowering import drop_new_defaults, restamped
from edgepress.graph.own_weights import own_weights
from edgepress.training.tidy import tidy

OPSET = 15
"""The newest that onnx-tf understands."""

EXPORTED_OPSET = 18
"""The oldest that torch's exporter writes."""

IR_VERSION = 10
"""What runtimes since 2024 load."""


def export(net: nn.Module, input_shape: tuple[int, ...]) -> onnx.ModelProto:
    """Export a network, in evaluation mode, from images (N, *input_shape) to logits (N, classes).

    The model has one input `input` and one output `logits`, both float32 with a symbolic first size `batch`;
    BatchNormalization stays as it is. Initializers have the names of the state dict; a layer that is used
    twice has its own twice. It is of opset 15, or of 18 where an operator cannot be expressed in 15. The same
    weights give the same bytes.

    Raises:
        UnsupportedModelError: torch's exporter cannot take the network, or only at a fixed batch size.
    """
    model = _exported(net.eval(), input_shape)
    tidy(model, set(net.state_dict()))
    exported = ir.serde.serialize_model(model)
    exported.producer_version = ""  # would name the build for this machine
    exported.ir_version = min(exported.ir_version, IR_VERSION)
    lowered = _lowered(exported)
    own_weights(lowered)
    onnx.checker.check_model(lowered, full_check=True)
    _check_ends(lowered, input_shape)
    return lowered


def _exported(net: nn.Module, input_shape: tuple[int, ...]) -> ir.Model:
    """What torch's exporter makes of the network; its optimiser would fold BatchNormalization."""
    try:
        with _silence():
            program = torch.onnx.export(
                net,
                (torch.zeros(2, *input_shape),),
                input_names=["input"],
                output_names=["logits"],
                opset_version=EXPORTED_OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # the exporter's errors share no base but this
        raise UnsupportedModelError(
            f"the network cannot be exported to ONNX: {_innermost(error)}; expected tensor operations that "
            "torch.onnx.export knows, for any batch size"
        ) from error
    assert program is not None
    model: ir.Model = program.model
    return model


def _lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at opset 15, or unchanged where it cannot be expressed there."""
    drop_new_defaults(model)
    for lower in (_converted, _restamped):
        try:
            lowered = lower(model)
            onnx.checker.check_model(lowered, full_check=True)
        except (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            continue
        lowered.ir_version = model.ir_version
        return lowered
    return model


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    converted: onnx.ModelProto = version_converter.convert_version(model, OPSET)
    return converted


def _restamped(model: onnx.ModelProto) -> onnx.ModelProto:
    return restamped(model, OPSET)


def _check_ends(model: onnx.ModelProto, input_shape: tuple[int, ...]) -> None:
    (entry,), (output,) = model.graph.input, model.graph.output
    assert (entry.name, output.name) == ("input", "logits")
    sizes = [[d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim] for end in (entry, output)]
    if sizes[0] != ["batch", *input_shape] or sizes[1][0] != "batch":
        raise UnsupportedModelError(
            f"the exported network maps {sizes[0]} to {sizes[1]}; expected the batch size to stay free. "
            "Look for a fixed batch size in the network's forward"
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's warnings, log and progress to itself; errors still come as exceptions."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(disabled)


def _innermost(error: BaseException) -> str:
    """The first line of the error that started it all; the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
