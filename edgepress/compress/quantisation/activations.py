"""What each tensor of a network holds while inputs run through it."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort

from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Inputs, as_samples
from edgepress.errors import UnsupportedModelError, setting
from edgepress.graph.view import copy, initializers
from edgepress.measure.entries import declared_entries

Range = tuple[float, float]


class Activations:
    """The float tensors that a model computes from calibration inputs, or the named ones; read once or more.

    Inputs run through it one by one, as on a device: in a network in which the samples of a batch mix, a
    mean over the batch for one, others would change what each of them makes.
    """

    def __init__(self, model: onnx.ModelProto, inputs: Inputs, names: Sequence[str] = ()) -> None:
        self._entries, self._samples = declared_entries(model), as_samples(inputs)
        shown = copy(model)
        named = {output.name for output in model.graph.output}
        made = names or dict.fromkeys(name for node in model.graph.node for name in node.output if name)
        shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in named)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        wanted = (end for end in self._session.get_outputs() if not names or end.name in names)
        self._names = [end.name for end in wanted if end.type == "tensor(float)"]

    def entries(self) -> Iterator[Mapping[str, Array]]:
        """The inputs that are floats, of each inference, without running it."""
        for fed in self._samples.feeds(self._entries):
            yield _floats(fed)

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        """The tensors of each input in turn, by name, the inputs that are floats among them."""
        for fed in self._samples.feeds(self._entries):
            made = self._session.run(self._names, fed) if self._names else []  # of no names it gives all
            yield _floats(fed) | dict(zip(self._names, made, strict=True))


def _floats(tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values for name, values in tensors.items() if values.dtype == np.float32}


def constant_ranges(model: onnx.ModelProto) -> dict[str, Range]:
    """The smallest and largest element of each float constant, by name."""
    constants = initializers(model)
    floats = {name: values for name, values in constants.items() if values.dtype == np.float32}
    return {
        name: (float(values.min()), float(values.max())) for name, values in floats.items() if values.size
    }


def extremes(activations: Activations) -> dict[str, Range]:
    """The smallest and largest element of each tensor that has any; they may be infinite.

    Raises:
        UnsupportedModelError: a tensor holds NaN.
    """
    ranges = dict[str, Range]()
    for tensors in activations:
        for name, values in tensors.items():
            if values.size:
                low, high = ranges.get(name, (np.inf, -np.inf))
                ranges[name] = min(low, _number(name, values.min())), max(high, _number(name, values.max()))
    return ranges


def _number(name: str, value: float) -> float:
    if np.isnan(value):
        raise UnsupportedModelError(
            f"{setting('quant')}: {name} is NaN for a calibration input; expected numbers. Look for a "
            "division by 0, the logarithm of a negative number, or a Softmax over elements that are all "
            "masked by -inf"
        )
    return float(value)
