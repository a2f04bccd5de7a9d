"""Rounding kernels to few codes, in which the weights that follow make up for what each loses.

What a layer makes of its real inputs is to change least, not the kernel itself. So weights are rounded one
input after the other, the largest first, and what is lost goes to the weights of the inputs that are left, as
far as these are alike. The mean of what remains goes into the bias.

Source: Frantar, Ashkboos, Hoefler & Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023; the bias: Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgepress.compress.quantisation.activations import Activations
from edgepress.compress.quantisation.kernel_codes import codes
from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Inputs
from edgepress.graph.view import attributes
from edgepress.graph.weights import Kernel

_MOST = 2400
"""Inputs of an output; with more, the inverse of their moments would take minutes."""

_DAMPING = 0.01
"""Of the mean square of the inputs, so that those that hardly vary take no part."""


@dataclass(frozen=True)
class LayerInputs:
    """Of the inputs (k,) of each output of a layer: the mean, and the mean products (k, k) of each two."""

    mean: Array
    products: Array


def layer_inputs(model: onnx.ModelProto, layers: Sequence[Kernel], inputs: Inputs) -> dict[str, LayerInputs]:
    """What layers read when calibration inputs run through a float model, by initializer.

    Layers of more than 2400 inputs, and those whose padding is not written out, are left out.
    """
    taken = [kernel for kernel in layers if _is_taken(kernel)]
    sums = {kernel.initializer: _Sums() for kernel in taken}
    names = list(dict.fromkeys(kernel.node.input[0] for kernel in taken))
    entries = {entry.name for entry in model.graph.input}
    for tensors in Activations(model, inputs, [n for n in names if n not in entries]) if taken else ():
        for kernel in taken:
            rows = _rows(kernel, tensors[kernel.node.input[0]]).astype(np.float64)
            sums[kernel.initializer].add(rows)
    return {name: total.means() for name, total in sums.items()}


class _Sums:
    """Of rows (n, k) the sum, and the sum of the products of each two of their elements."""

    def __init__(self) -> None:
        self._rows: Array = np.zeros(())
        self._products: Array = np.zeros(())
        self._count = 0

    def add(self, rows: Array) -> None:
        self._rows, self._products = self._rows + rows.sum(axis=0), self._products + rows.T @ rows
        self._count += len(rows)

    def means(self) -> LayerInputs:
        return LayerInputs(self._rows / self._count, self._products / self._count)


def _is_taken(kernel: Kernel) -> bool:
    size = int(kernel.values.size // kernel.values.shape[kernel.channel_axis])
    return size <= _MOST and attributes(kernel.node).get("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _rows(kernel: Kernel, tensor: Array) -> Array:
    """The inputs (rows, k) of each output, in the order of the kernel's weights."""
    if kernel.node.op_type != "Conv":
        return tensor.reshape(-1, tensor.shape[-1])
    given, window = attributes(kernel.node), kernel.values.shape[2:]
    rank = len(window)
    pads, dilations = given.get("pads", [0] * 2 * rank), given.get("dilations", [1] * rank)
    strides = given.get("strides", [1] * rank)
    padded = np.pad(tensor, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    reach = [(size - 1) * step + 1 for size, step in zip(window, dilations, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
    places = tuple(slice(None, None, step) for step in strides)
    within = tuple(slice(None, None, step) for step in dilations)
    views = views[(slice(None), slice(None), *places, *within)]
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    return views.transpose(order).reshape(-1, kernel.values.shape[1] * int(np.prod(window)))


def compensated_codes(values: Array, scales: Array, axis: int, largest: int, inputs: LayerInputs) -> Array:
    """The codes of a kernel whose outputs lie along `axis`; weights that are 0 stay 0."""
    moved = np.moveaxis(values, axis, 0)
    rows = moved.reshape(len(scales), -1).astype(np.float64)
    found = np.zeros(rows.shape, np.int8)
    for number, (place, spread) in enumerate(_steps(inputs.products)):
        column = rows[:, place[number]]
        chosen = codes(column[:, None], scales, 0, largest)[:, 0]
        chosen[moved.reshape(len(scales), -1)[:, place[number]] == 0] = 0
        found[:, place[number]] = chosen
        left = (column - chosen * scales) / spread[number]
        rows[:, place[number + 1 :]] -= np.outer(left, spread[number + 1 :])
    return np.moveaxis(found.reshape(moved.shape), 0, axis)


def _steps(products: Array) -> Iterator[tuple[Array, Array]]:
    """For each input, the largest first: the order of all, and how its loss is spread over those after it."""
    place = np.argsort(-np.diag(products), kind="stable")
    damped = products[np.ix_(place, place)]
    damped = damped + np.eye(len(place)) * (_DAMPING * float(np.diag(products).mean()) or 1.0)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    yield from ((place, row) for row in upper)


def shift(values: Array, rounded: Array, axis: int, inputs: LayerInputs) -> Array:
    """What a bias (outputs,) has to take over, since the rounded kernel makes that much less on average."""
    lost = np.moveaxis(values - rounded, axis, 0).reshape(values.shape[axis], -1)
    return np.asarray(lost @ inputs.mean, np.float32)
