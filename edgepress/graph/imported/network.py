"""A trained classifier from an ONNX file as the pipeline's stages take it."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from edgepress.config.model import Onnx
from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.graph.axes import Place
from edgepress.graph.channels import channels_of
from edgepress.graph.formats import number_format
from edgepress.graph.imported.ending import activated, drop_activation
from edgepress.graph.imported.entry import Entry, find_entry, fits_both
from edgepress.graph.imported.layers import plain_layers
from edgepress.graph.imported.tokens import pad_for_tokens
from edgepress.graph.normalise.files import external_files, read_onnx
from edgepress.graph.normalise.names import make_names_valid
from edgepress.graph.normalise.native import check, inferred
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.normalise.structure import tidy_structure
from edgepress.graph.shapes import BATCH
from edgepress.graph.view import Array, copy, initializers, nested_graphs

INPUT, OUTPUT = "input", "logits"

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")


@dataclass(frozen=True)
class ImportedNetwork:
    """`model` maps raw inputs (batch, C, H, W) called `input` to `logits` (batch, classes), float32.

    It computes what the file does for what `entry` feeds it, but for a Softmax or the like at the end: stages
    train on logits, so it is `dropped`.
    """

    model: onnx.ModelProto
    entry: Entry
    dropped: onnx.NodeProto | None = None

    def as_in_the_file(self, logits: Array) -> Array:
        """What the file's network gives where `model` gives these logits (N, classes)."""
        return logits if self.dropped is None else activated(self.dropped, logits)


def read_source(config: Onnx) -> onnx.ModelProto:
    """The file as it is, with the weights that lie beside it.

    Raises:
        ConfigError: the file, or one with its weights, is not where DVC watches.
        ArtifactError, UnsupportedModelError: see `read_onnx`.
    """
    path, source = Path(config.path), Path(config.source)
    for file in (path, *external_files(path)):
        if not file.resolve().is_relative_to(source.resolve()):
            raise ConfigError(
                f"model.source is {config.source!r}, but the network's weights lie in {file}, where an edit "
                "would go unnoticed; put both into a folder of their own and name it: -S model.source=FOLDER"
            )
    return read_onnx(path)


def imported(
    original: onnx.ModelProto, config: Onnx, input_shape: tuple[int, ...], classes: int
) -> ImportedNetwork:
    """Normalise a file's network and fit it to data of a shape (C, H, W) and a number of classes, 0 for none.

    Ensures: one input `input`, raw and (batch, *input_shape), one output `logits`; opset 15, or newer where
    onnx cannot lower it; each layer's weights are initializers that it alone reads; `original` stays.

    Raises:
        UnsupportedModelError: it is broken, quantised, no classifier, or does not fit the data; in one line.
        ConfigError: `model.mean` or `model.std` does not fit the data's channels.
    """
    try:
        return _imported(copy(original), config, input_shape, classes)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"model.path is {config.path!r}: {error}") from error


def _imported(
    model: onnx.ModelProto, config: Onnx, input_shape: tuple[int, ...], classes: int
) -> ImportedNetwork:
    entry = _entry(model, config, input_shape)
    normal = normalise(model)
    _refuse_control_flow(normal)
    make_names_valid(normal)
    _check_format(normal, config)
    _check_batch(normal, config)
    _check_output(normal, classes, config)
    entry.put_before(normal, input_shape)
    dropped = drop_activation(normal)
    pad_for_tokens(normal)
    _rename_ends(normal)
    plain_layers(normal)
    _infer_shapes(normal)
    normal.graph.name = normal.graph.name or "network"
    onnx.checker.check_model(normal)
    return ImportedNetwork(normal, entry, dropped)


def _entry(model: onnx.ModelProto, config: Onnx, input_shape: tuple[int, ...]) -> Entry:
    """How the data fits; sizes that the file leaves open are set, in place, to those of the data."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]
    if len(inputs) != 1:
        raise UnsupportedModelError(
            f"the network has {len(inputs)} inputs; expected one, an image or a vector"
        )
    dims = inputs[0].type.tensor_type.shape.dim[1:]
    sizes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims]
    channels = _channels(model) if fits_both(sizes, input_shape) else ""
    entry = find_entry(sizes, input_shape, config.mean, config.std, channels)
    for dim, size in zip(dims, entry.shape, strict=True):
        dim.dim_value = size
    return entry


def _channels(model: onnx.ModelProto) -> Place:
    """Where the operators show the channels of the one input, whose sizes tell nothing."""
    sound = copy(model)
    tidy_structure(sound)
    check(sound)
    return channels_of(sound, inferred(sound)).of(sound.graph.input[0].name)


def _refuse_control_flow(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if nested_graphs(node):
            raise UnsupportedModelError(
                f"node {node.name!r} ({node.op_type}) holds a graph of its own; export without control flow"
            )


def _check_format(model: onnx.ModelProto, config: Onnx) -> None:
    ops = {node.op_type for node in model.graph.node}
    if ops & set(_QUANTISED) or number_format(model) != "float32":
        raise UnsupportedModelError(
            "the network is quantised already; expected float32, of which the stages make other formats. "
            f"To convert it as it is: edgepress convert {config.path} -o model.tflite"
        )


def _check_batch(model: onnx.ModelProto, config: Onnx) -> None:
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise UnsupportedModelError(
            "the network is built for a batch of 1; expected one of any size. Export it with a dynamic "
            f"batch, or convert it as it is: edgepress convert {config.path} -o model.tflite"
        )


def _check_output(model: onnx.ModelProto, classes: int, config: Onnx) -> None:
    outputs = model.graph.output
    sizes = [[dim.dim_value for dim in output.type.tensor_type.shape.dim[1:]] for output in outputs]
    kinds = {output.type.tensor_type.elem_type for output in outputs}
    if len(outputs) != 1 or len(sizes[0]) != 1 or kinds != {onnx.TensorProto.FLOAT}:
        names = ", ".join(f"{o.name} {('batch', *s)}" for o, s in zip(outputs, sizes, strict=True))
        raise UnsupportedModelError(
            f"the network gives {names[:200]}; expected one output (batch, classes), float32. "
            f"To convert a network of another kind: edgepress convert {config.path} -o model.tflite"
        )
    if classes and sizes[0] != [classes]:
        raise UnsupportedModelError(
            f"the network tells {sizes[0][0]} classes apart, but the data has {classes}; expected the same. "
            "Bring its data: -S data=image_folder -S data.path=FOLDER"
        )


def _rename_ends(model: onnx.ModelProto) -> None:
    """Call the ends `input` and `logits`, in place; what was called so before gives way."""
    graph = model.graph
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    inner = {*initializers(model), *(name for node in graph.node for name in node.output)}
    names |= {name: f"{name}.inner" for name in (INPUT, OUTPUT) if name in inner and name not in names}
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = names.get(entry.name, entry.name)


def _infer_shapes(model: onnx.ModelProto) -> None:
    """Write down the shape of each tensor between the ends, in place, and the batch of the output."""
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = BATCH
    ends = {entry.name for entry in (*model.graph.input, *model.graph.output)}
    del model.graph.value_info[:]
    shapes = inferred(model, strict=True)
    model.graph.value_info.extend(info for name, info in shapes.items() if name not in ends)
