"""A trained network from an ONNX file as the pipeline's stages take it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgepress.config.model import Onnx
from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.graph.axes import Place
from edgepress.graph.channels import channels_of
from edgepress.graph.formats import number_format
from edgepress.graph.imported.ending import activated, drop_activation
from edgepress.graph.imported.entry import Entry, find_entry, fits_both
from edgepress.graph.imported.layers import plain_layers
from edgepress.graph.imported.named import Described, have_the_batch, sizes_of_data
from edgepress.graph.imported.tokens import pad_for_tokens
from edgepress.graph.normalise.batch import check_inputs
from edgepress.graph.normalise.files import external_files, read_onnx
from edgepress.graph.normalise.native import check, inferred
from edgepress.graph.normalise.normalise import normalise, note_shapes, with_sizes
from edgepress.graph.normalise.structure import tidy_structure
from edgepress.graph.renaming import names_of, rename
from edgepress.graph.shapes import BATCH
from edgepress.graph.view import Array, copy, nested_graphs
from edgepress.text import listed, shown

INPUT, OUTPUT = "input", "logits"

_OF_IMAGES = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE,
    onnx.TensorProto.UINT8, onnx.TensorProto.INT8,
)  # fmt: skip
"""The types of inputs that images and vectors go to."""

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")


@dataclass(frozen=True)
class ImportedNetwork:
    """`model` takes raw inputs, and gives `logits` (batch, classes), float32, if it is a `classifier`.

    Images and vectors (batch, C, H, W) go to an `input`; other inputs have the names, types and shapes that
    they have in the file, as outputs have that are no logits. It computes what the file does for what `feed`
    makes of raw inputs, but for a Softmax or the like at the end of a classifier: stages train on logits, so
    it is `dropped`. `inputs` are those of the file that outputs depend on, as it calls them.
    """

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    entry: Entry | None
    classifier: bool
    dropped: onnx.NodeProto | None = None

    def feed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the file's network takes for raw inputs (n, ...) by name."""
        if self.entry is None:
            return dict(inputs)
        return {INPUT: self.entry.feed(np.asarray(inputs[INPUT], np.float32))}

    def as_in_the_file(self, outputs: Mapping[str, Array]) -> list[Array]:
        """What the file's network gives, in its order, where `model` gives these outputs."""
        found = list(outputs.values())
        return found if self.dropped is None else [activated(self.dropped, found[0])]


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
    original: onnx.ModelProto,
    config: Onnx,
    input_shape: tuple[int, ...],
    classes: int,
    inputs: Mapping[str, Described] | None = None,
) -> ImportedNetwork:
    """Normalise a file's network and fit it to data.

    Args:
        original: the file's network, which stays as it is.
        config: how images or vectors become its input.
        input_shape: of images or vectors (C, H, W); empty where the data has the network's own inputs.
        classes: how many the data has, 0 for none.
        inputs: the data's arrays where they are the network's own inputs by their names.

    Ensures: see `ImportedNetwork`; opset 15, or newer where onnx cannot lower it; each layer's weights are
    initializers that it alone reads.

    Raises:
        UnsupportedModelError: it is broken, quantised, or does not fit the data; in one line.
        ConfigError: `model.mean` or `model.std` does not fit the data's channels, or is of no use to it.
    """
    try:
        if not input_shape:
            return _of_names(copy(original), config, classes, inputs or {})
        return _of_images(copy(original), config, input_shape, classes)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"model.path is {config.path!r}: {error}") from error


def _of_images(
    model: onnx.ModelProto, config: Onnx, input_shape: tuple[int, ...], classes: int
) -> ImportedNetwork:
    entry = _entry(model, config, input_shape)
    normal = normalise(model)
    _check_format(normal, config)
    entry.put_before(normal, input_shape)
    name = normal.graph.input[0].name
    _rename(normal, {name: INPUT})
    return _finished(normal, (name,), entry, classes)


def _of_names(
    model: onnx.ModelProto, config: Onnx, classes: int, inputs: Mapping[str, Described]
) -> ImportedNetwork:
    if config.mean or config.std:
        raise ConfigError(
            "model.mean and model.std scale images and vectors, but data.layout is 'named', of which each "
            "input is taken as it is; expected [] for both. Set it in conf/model/ or with -S."
        )
    normal = normalise(model)
    _check_format(normal, config)
    if sizes := sizes_of_data(normal, inputs):
        normal = with_sizes(normal, sizes)
    names = tuple(info.name for info in normal.graph.input)
    return _finished(normal, names, None, classes, not have_the_batch(normal, inputs))


def _finished(
    model: onnx.ModelProto,
    inputs: tuple[str, ...],
    entry: Entry | None,
    classes: int,
    may_classify: bool = True,
) -> ImportedNetwork:
    """The network as compression takes it."""
    classifier, dropped = may_classify and gives_classes(model, classes), None
    if not any(nested_graphs(node) for node in model.graph.node):
        dropped = drop_activation(model) if classifier else None
        pad_for_tokens(model)
    if classifier:
        _rename(model, {model.graph.output[0].name: OUTPUT})
    plain_layers(model)
    note_shapes(model)
    for output in model.graph.output if classifier else ():
        batch = output.type.tensor_type.shape.dim[0]
        if not batch.HasField("dim_value"):
            batch.dim_param = BATCH
    model.graph.name = model.graph.name or "network"
    onnx.checker.check_model(model)
    return ImportedNetwork(model, inputs, entry, classifier, dropped)


def _entry(model: onnx.ModelProto, config: Onnx, input_shape: tuple[int, ...]) -> Entry:
    """How the data fits; sizes that the file leaves open are set, in place, to those of the data."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]
    if len(inputs) > 1:
        read = {info.name for info in _tidy(model).graph.input}
        inputs = [info for info in inputs if info.name in read]
    if len(inputs) != 1 or not inputs[0].type.tensor_type.shape.dim:
        names = listed([info.name for info in inputs])
        raise UnsupportedModelError(
            f"the network has the inputs {names or 'none'}, but the data is one image or vector for each "
            "sample; expected an input for it. Give arrays by the names of the inputs: -S data=inputs "
            "-S data.layout=named"
        )
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in _OF_IMAGES:
        check_inputs(model)
        wanted = onnx.helper.tensor_dtype_to_np_dtype(kind).name
        raise UnsupportedModelError(
            f"the network's input {shown(inputs[0].name)!r} is {wanted}, but images and vectors are floats "
            "or bytes; give it as it is, by its name: -S data=inputs -S data.layout=named"
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
    sound = _tidy(model)
    check(sound)
    return channels_of(sound, inferred(sound)).of(sound.graph.input[0].name)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with nothing in it that no output needs."""
    sound = copy(model)
    tidy_structure(sound)
    return sound


def _check_format(model: onnx.ModelProto, config: Onnx) -> None:
    ops = {node.op_type for node in model.graph.node}
    if ops & set(_QUANTISED) or number_format(model) != "float32":
        raise UnsupportedModelError(
            "the network is quantised already; expected float32, of which the stages make other formats. "
            f"To convert it as it is: edgepress convert {config.path} -o model.tflite"
        )


def gives_classes(model: onnx.ModelProto, classes: int) -> bool:
    """Whether the network's only output is of classes (batch, K), float32.

    Raises:
        UnsupportedModelError: it tells apart another number of classes than the data has.
    """
    (first, *others), kinds = model.graph.output, onnx.TensorProto
    dims = first.type.tensor_type.shape.dim
    if others or len(dims) != 2 or first.type.tensor_type.elem_type != kinds.FLOAT:
        return False
    if classes and dims[1].HasField("dim_value") and dims[1].dim_value != classes:
        raise UnsupportedModelError(
            f"the network tells {dims[1].dim_value} classes apart, but the data has {classes}; expected the "
            "same. Bring its data: -S data=image_folder -S data.path=FOLDER"
        )
    return True


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    """Give tensors new names, in place; what was called so before gives way."""
    taken = names_of(model.graph)
    names |= {name: f"{name}.inner" for name in names.values() if name in taken and name not in names}
    rename(model.graph, names)
