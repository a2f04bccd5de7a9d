"""`edgepress convert`: one ONNX file from anywhere → one `.tflite`."""

from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx

from edgepress.config.convert import ConvertConfig, Nhwc, OnnxTf
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.nhwc import planned
from edgepress.convert.pieces import Pieces
from edgepress.convert.registry import Orders, convert_single
from edgepress.convert.tflite_model import TfliteModel
from edgepress.datasets.samples import Samples, has_whole_shape
from edgepress.errors import ConfigError, ConversionError, single_file
from edgepress.graph.about import say
from edgepress.graph.aside import weights_aside
from edgepress.graph.channels import Channels
from edgepress.graph.formats import INTEGERS, number_format
from edgepress.graph.kept_floats import blurred_outputs, float_joins
from edgepress.graph.normalise.files import read_onnx
from edgepress.graph.normalise.fixing import Fixing
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.shapes import BATCH
from edgepress.graph.strangers import strangers_allowed
from edgepress.graph.view import copy
from edgepress.inspection.report import render_operators, render_transposes
from edgepress.inspection.tflite import tflite_format, transposes
from edgepress.measure.entries import declared_entries
from edgepress.measure.reference import keep_inputs, reference, serialised
from edgepress.standalone.check import Check
from edgepress.standalone.inputs import draw_inputs, load_inputs
from edgepress.standalone.layouts import chosen_orders, told
from edgepress.standalone.origin import origin
from edgepress.standalone.request import SAMPLES, Request
from edgepress.text import shown
from edgepress.translate.ends import network_channels
from edgepress.writing import atomic

_COMPARED = 32
_THREADS = 1
_CONVERTERS: dict[str, type[ConvertConfig]] = {"nhwc": Nhwc, "onnx_tf": OnnxTf}
Progress = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What was made of a file: the `.tflite`, as `size` bytes, and the comparison if it was asked for.

    `moved` tells which inputs and outputs have their axes in another order than in the file, `notes` what
    int8 does not suit: joins that stay in floats, and outputs that it cannot tell apart.
    """

    target: Path
    converter: str
    model: TfliteModel
    size: int
    moved: tuple[str, ...]
    notes: tuple[str, ...]
    check: Check | None

    def text(self) -> str:
        """The result line, what each transpose stems from, and the comparison and operators if compared."""
        model = self.model
        absent = "" if self.check is None or self.check.passed else " (not written)"
        form, operators = tflite_format(model), len(model.operators)
        line = (
            f"{shown(self.target)}{absent}: {self.converter}, {form}, {operators} operators, "
            f"{model.transpose_ops} transposes, {self.size:,} bytes"
        )
        known = [each for each in transposes(model) if each.origin]
        weights = [] if model.weights == "float32" else [f"  weights {model.weights}"]
        needs = [f"  {each}" for each in model.needs]
        told = [line, *weights, *needs, *self.moved, *self.notes, *render_transposes(known)]
        if self.check is None:
            return "\n".join(told)
        return "\n".join([*told, "", *self.check.lines(), "", *render_operators(model.op_counts)])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "target": str(self.target),
            "written": self.check is None or self.check.passed,
            "converter": self.converter,
            "form": tflite_format(self.model),
            "operators": dict(self.model.op_counts),
            "transposes": self.model.transpose_ops,
            "weights": self.model.weights,
            "needs": list(self.model.needs),
            "moved": [line.strip() for line in self.moved],
            "size_bytes": self.size,
            "notes": list(self.notes),
            "check": self.check and self.check.as_json(),
        }

    def refuse(self) -> None:
        """Raise why the file is not written, if it is not.

        Raises:
            ConversionError: see `Check.refuse`.
        """
        if self.check is not None:
            self.check.refuse(str(self.target))


def convert(request: Request, progress: Progress) -> Outcome:
    """Normalise, quantise, convert and write; compare if asked. Nothing is written before all has worked.

    What does not pass the comparison is not written either: then `refuse` of the outcome raises.

    Raises:
        EdgepressError: whatever the user can cause, with remedies in the words of the command line.
    """
    with single_file(), strangers_allowed(request.allow_custom):
        return _convert(request, progress)


def _convert(request: Request, progress: Progress) -> Outcome:
    """As `convert`. Weights lie beside the model unless ONNX Runtime or another converter is to read it."""
    alone = request.converter == "nhwc" and request.quant == "none" and not request.check
    with suppress(_NotPassedError), ExitStack() as until_read:
        with weights_aside() if alone else nullcontext():
            made = _written(request, progress, until_read)
        outcome = Outcome(
            request.target,
            request.converter,
            read_tflite(made.file),
            made.file.stat().st_size,
            made.moved,
            made.notes,
            made.check,
        )
        if made.check is not None and not made.check.passed:
            raise _NotPassedError
    return outcome


@dataclass(frozen=True)
class _Made:
    """A file that takes the target's place when it is read, and what `Outcome` tells beside what it holds."""

    file: Path
    moved: tuple[str, ...]
    notes: tuple[str, ...]
    check: Check | None


class _NotPassedError(Exception):
    """What was written is taken back."""


def _written(request: Request, progress: Progress, until_read: ExitStack) -> _Made:
    """Convert as asked; the file takes its place when `until_read` ends."""
    progress(f"reading {request.source}")
    read = read_onnx(request.source)
    original = copy(read) if request.check else None
    model = normalise(read, _fixing(request), keep_types=request.quant == "none")
    if original is not None:
        keep_inputs(original, [entry.name for entry in read.graph.input])
        if request.outputs:
            _end_alike(original, read)
    if request.converter == "onnx_tf" and (form := number_format(model)) in INTEGERS:
        raise ConfigError(
            f"--converter onnx_tf would find the ranges of {request.source}, which is {form} already, anew; "
            "use --converter nhwc, which keeps them"
        )
    channels = _explained(request, lambda: network_channels(model))
    orders = chosen_orders(request, read, model, channels)
    given = None if request.calibration is None else _given(request.calibration, model, channels)
    if request.converter == "nhwc" and request.quant != "none":
        _explained(request, lambda: planned(model, orders))  # what it cannot take is told before the work
    notes = list[str]()
    quantised = model
    if request.quant != "none":
        from edgepress.standalone.quantising import quantised_as_asked

        quantised = quantised_as_asked(request, model, given, progress, notes.append)
    form = number_format(quantised)
    asked, wanted = request.io_dtype, {"int8": "int8", "int16": "int16x8"}.get(request.io_dtype)
    if wanted is not None and INTEGERS.get(form) != asked:
        raise ConfigError(
            f"--io-dtype is {asked} but the network is {form}; add --quant {wanted} --calibration FILE"
        )
    progress(f"converting to TFLite with {request.converter}")
    if request.metadata:
        say(quantised, origin(request, read))
    content = _converted(request, quantised, given, orders)
    made = until_read.enter_context(atomic(request.target))
    with made.open("wb") as file:
        content.write(file)
    check = None
    if original is not None and (needs := read_tflite(made).needs):
        notes.append(f"  not compared: LiteRT by itself cannot run it, since it {' and '.join(needs)}")
    elif original is not None:
        progress("comparing with ONNX Runtime")
        check = _checked(request, made, original, (model, quantised), given, orders)
    notes += [*map(str, float_joins(quantised)), *blurred_outputs(quantised)]
    return _Made(made, tuple(told(read, model, orders)), tuple(dict.fromkeys(notes)), check)


def _fixing(request: Request) -> Fixing:
    shapes = dict(map(request.input_shape, request.input_shapes))
    return Fixing(shapes, request.batch, request.outputs, keep_several=request.batch is None)


def _end_alike(original: onnx.ModelProto, read: onnx.ModelProto) -> None:
    """Let a model give the outputs that another copy of it has been cut to, in place."""
    ends = [onnx.ValueInfoProto.FromString(end.SerializeToString()) for end in read.graph.output]
    del original.graph.output[:]
    original.graph.output.extend(ends)


def _given(calibration: Path, model: onnx.ModelProto, channels: Channels) -> Samples:
    """The user's inputs, as the network takes them."""
    entries = declared_entries(model)
    axes = {"first": "channels first", "last": "channels last", "": ""}[channels.of(entries[0].name)]
    given = load_inputs(calibration, entries, SAMPLES, axes if len(entries) == 1 else "")
    for entry, info in zip(entries, model.graph.input, strict=True):
        first, array = info.type.tensor_type.shape.dim[:1], given.arrays[entry.name]
        open_batch = first and first[0].dim_param == BATCH
        if open_batch and has_whole_shape(array, entry) and array.shape[1] > 1:
            raise ConfigError(
                f"--calibration has {array.shape[1]} samples at once for {entry.name!r}, but the batch is "
                f"open and so 1 in the .tflite; add --batch {array.shape[1]}"
            )
    return given


def _converted(request: Request, model: onnx.ModelProto, given: Samples | None, orders: Orders) -> Pieces:
    """The content of the file; onnx_tf finds ranges in the inputs of an only one itself."""
    only = given is not None and len(given.arrays) == 1
    calibration = next(iter(given.arrays.values())) if given and only else np.zeros((0, 0), np.float32)
    config = _CONVERTERS[request.converter](request.io_dtype)
    return _explained(request, lambda: convert_single(model, config, calibration, orders))


def _explained(request: Request, work: Callable[[], T]) -> T:
    """What `work` gives; whatever it stumbles over is an error of the model's."""
    try:
        return work()
    except (LookupError, ValueError, TypeError) as error:  # a network of a form that no pass here expected
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConversionError(
            f"the {request.converter} converter cannot take {request.source} ({reason}); "
            "change the network or try another --converter"
        ) from error


def _checked(
    request: Request,
    tflite: Path,
    original: onnx.ModelProto,
    models: tuple[onnx.ModelProto, onnx.ModelProto],
    given: Samples | None,
    orders: Orders,
) -> Check:
    """The comparison with the file as it came and, if it was quantised, with the quantised network."""
    from edgepress.standalone.parity import signals

    model, quantised = models
    if given is None:
        inputs, source = draw_inputs(model, _COMPARED)
    else:
        inputs, source = given[:_COMPARED], f"of {request.calibration}"
    ends = {end.name: orders[end.name] for end in (*model.graph.input, *model.graph.output)}
    expected = reference(serialised(original), inputs, _THREADS)
    outputs, in_form = signals(expected, tflite, inputs, ends, _THREADS), {}
    if quantised is not model:
        in_onnx = reference(serialised(quantised), inputs, _THREADS, optimised=True)
        in_form = signals(in_onnx, tflite, inputs, ends, _THREADS)
    return Check(
        source=str(request.source),
        inputs=f"{expected.samples} inputs {source}",
        drawn=given is None,
        form=number_format(original if quantised is model else quantised),
        min_snr_db=request.min_snr_db,
        outputs=outputs,
        in_form=in_form,
    )
