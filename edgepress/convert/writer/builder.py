"""Single operators added to a network, each with the shape and the type of what it makes.

The shapes follow TensorFlow Lite's kernels (tensorflow/lite/kernels/*.cc, `Prepare`). Operands are tensors
or, for numbers, arrays, which become constants. What only renames a tensor, as a reshape to its own shape,
adds nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepress.convert.writer.forms import requantised_inexactly, spread
from edgepress.convert.writer.graph import Array, Codes, Graph, Operator, Shape, Tensor, codes_of_one
from edgepress.convert.writer.many_axes import in_fewer_axes
from edgepress.translate.cells import Matrix

Operand = Tensor | Array | float | int
_MEASURES = ("SHAPE",)
"""What has a fixed number of elements whatever it is made of."""

_COMPARABLE = {
    "int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64",
    "float16": "float32", "bfloat16": "float32", "float64": "float32",
}  # fmt: skip
"""For types that LiteRT does not compare, or as codes alone (it aborts), one that holds their numbers."""


_MOST_PADDED = 5
"""Axes that LiteRT's own PAD takes; XNNPACK's takes six, but of numbers alone."""


class Builder:
    """Adds operators to `operators`, which do the work of the ONNX node `node`.

    With `any_size` nothing is added that suits the sizes of the tensors at hand alone.
    """

    def __init__(self) -> None:
        self.any_size = False
        self.operators: list[Operator] = []
        self.node = ""
        self._made: dict[int, Operator] = {}
        self._matrices: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def begin(self, node: str) -> None:
        """What follows does the work of this node."""
        self.node = node

    def add(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        dtype: str = "float32",
        codes: Codes | None = None,
        **options: Any,
    ) -> Tensor:
        """The one result of a new operator, or of several that do the same in fewer axes."""
        if joined := in_fewer_axes(self, (kind, dtype, codes, options), inputs, shape):
            return joined
        (result,) = self.add_several(kind, inputs, [shape], dtype, codes, **options)
        return result

    def add_several(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[Sequence[int]],
        dtype: str = "float32",
        codes: Codes | None = None,
        **options: Any,
    ) -> list[Tensor]:
        """The results of a new operator, all of one type; a size of −1 is found as the network runs."""
        ragged = kind not in _MEASURES and any(x is not None and x.ragged for x in inputs)
        kind_of_number = dtype if codes is None else codes.dtype
        made = [
            Tensor("", tuple(abs(int(n)) for n in shape), kind_of_number, codes, ragged=ragged or -1 in shape)
            for shape in shapes
        ]
        operator = Operator(kind, list(inputs), made, options, [self.node])
        self.operators.append(operator)
        self._made.update({id(tensor): operator for tensor in made})
        return made

    def add_typed(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        results: Sequence[tuple[Sequence[int], str]],
        **options: Any,
    ) -> list[Tensor]:
        """The results, by shape and type, of a new operator."""
        made = self.add_several(kind, inputs, [shape for shape, _ in results], **options)
        for tensor, (_, dtype) in zip(made, results, strict=True):
            tensor.dtype = dtype
        return made

    def add_nested(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[tuple[Shape, str]],
        graphs: Mapping[str, Graph],
    ) -> list[Tensor]:
        """The results, by shape and type, of an operator that runs these networks."""
        made = [Tensor("", tuple(map(int, shape)), dtype) for shape, dtype in outputs]
        operator = Operator(kind, list(inputs), made, {}, [self.node], graphs=dict(graphs))
        self.operators.append(operator)
        self._made.update({id(tensor): operator for tensor in made})
        return made

    def maker(self, tensor: Tensor) -> Operator | None:
        """The operator that makes a tensor."""
        return self._made.get(id(tensor))

    # Constants

    def constant(self, values: Operand, dtype: str | None = None, name: str = "") -> Tensor:
        """A constant of numbers; Python's numbers are float32 where no type is given."""
        if isinstance(values, Tensor):
            return values
        array = np.asarray(values, dtype or ("float32" if isinstance(values, float | int) else None))
        return Tensor(name, array.shape, array.dtype.name, None, array)

    def integers(self, values: Sequence[int] | Array) -> Tensor:
        """A constant of int32: a shape, axes, pads."""
        return self.constant(np.asarray(values, np.int32))

    def like(self, values: Operand, other: Tensor) -> Tensor:
        """An operand of the same type as another."""
        return values if isinstance(values, Tensor) else self.constant(values, other.dtype)

    # Element by element

    def unary(self, kind: str, x: Tensor, codes: Codes | None = None, **options: Any) -> Tensor:
        return self.add(kind, [x], x.shape, x.dtype, codes, **options)

    def binary(
        self, kind: str, x: Operand, y: Operand, codes: Codes | None = None, dtype: str = "", **options: Any
    ) -> Tensor:
        """One of two operands may be an array or a number."""
        if isinstance(x, Tensor):
            left, right = x, self.like(y, x)
        else:
            assert isinstance(y, Tensor)
            left, right = self.like(x, y), y
        rows = not self.any_size
        left, right = spread(left, right.shape, rows), spread(right, left.shape, rows)
        shape = np.broadcast_shapes(left.shape, right.shape)
        if codes is not None and codes.dtype == "int16" and kind in ("ADD", "SUB"):
            options["pot_scale_int16"] = False  # any scale will do, not powers of two alone
        return self.add(kind, [left, right], shape, dtype or left.dtype, codes, **options)

    def broadcast(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """In this shape, for kernels that do not broadcast."""
        if tuple(shape) == x.shape:
            return x
        if x.values is not None and not self.any_size:
            return self.constant(np.broadcast_to(x.values, shape))
        return self.add("BROADCAST_TO", [x, self.integers(shape)], shape, x.dtype, x.codes)

    def plus(self, x: Operand, y: Operand, codes: Codes | None = None) -> Tensor:
        return self.binary("ADD", x, y, codes)

    def minus(self, x: Operand, y: Operand, codes: Codes | None = None) -> Tensor:
        return self.binary("SUB", x, y, codes)

    def times(self, x: Operand, y: Operand, codes: Codes | None = None) -> Tensor:
        return self.binary("MUL", x, y, codes)

    def over(self, x: Operand, y: Operand, codes: Codes | None = None) -> Tensor:
        return self.binary("DIV", x, y, codes)

    def lesser(self, x: Tensor, y: float) -> Tensor:
        return self.binary("MINIMUM", x, y)

    def larger(self, x: Tensor, y: float) -> Tensor:
        return self.binary("MAXIMUM", x, y)

    def where_positive(self, x: Tensor, y: Operand, z: Operand) -> Tensor:
        """y where x is above 0, else z."""
        positive = self.binary("GREATER", x, 0, dtype="bool")
        chosen = [self.like(y, x), self.like(z, x)]
        shape = np.broadcast_shapes(x.shape, *(tensor.shape for tensor in chosen))
        return self.add("SELECT_V2", [positive, *chosen], shape, x.dtype)

    def select(self, condition: Tensor, x: Operand, y: Operand) -> Tensor:
        """x where the condition holds, else y, one of which is a tensor."""
        like = x if isinstance(x, Tensor) else y
        assert isinstance(like, Tensor)
        x, y = self.like(x, like), self.like(y, like)
        shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
        return self.add("SELECT_V2", [condition, x, y], shape, like.dtype)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """To another number type; any number but 0 is true."""
        if x.dtype == dtype:
            return x
        if dtype == "bool":
            wide = _COMPARABLE.get(x.dtype)
            return self.binary("NOT_EQUAL", self.cast(x, wide) if wide else x, 0, dtype="bool")
        return self.add("CAST", [x], x.shape, dtype, in_type=x.dtype, out_type=dtype)

    # Codes

    def quantize(self, x: Tensor, codes: Codes) -> Tensor:
        """The codes of numbers, or of other codes.

        XNNPACK requantises by a multiple of 1/256 and rounds half-way cases up. Where ONNX would get other
        codes so, the tensor is multiplied by 1: that is exact, and rounds half-way cases to even as ONNX.
        """
        if x.codes is not None and x.codes.same(codes):
            return x
        if x.values is not None and x.codes is None:
            return Tensor(x.name, x.shape, codes.dtype, codes, codes.of(x.values))
        if x.codes is not None and requantised_inexactly(x.codes, codes):
            one = Tensor("", (), x.dtype, codes_of_one(1.0, 0, x.dtype), np.ones((), x.dtype))
            return self.add("MUL", [x, one], x.shape, codes=codes)
        return self.add("QUANTIZE", [x], x.shape, codes.dtype, codes)

    def dequantize(self, x: Tensor) -> Tensor:
        return self.add("DEQUANTIZE", [x], x.shape)

    def counts(self, x: Tensor) -> Tensor:
        """How many scales each code is from its zero point: whole numbers, which floats hold exactly."""
        assert x.codes is not None
        number, zero_point = self.cast(x, "float32"), x.codes.zero_point
        return self.minus(number, float(zero_point)) if zero_point else number

    # Moves: the result has the codes of the operand

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """To a shape, in which −1 stands for what is left."""
        if x.ragged:
            return self._reshaped_ragged(x, shape)
        target = _whole(shape, x.size)
        maker = self.maker(x)
        if target == x.shape:
            return x
        if x.values is not None:
            return Tensor(x.name, target, x.dtype, x.codes, x.values.reshape(target))
        if maker is not None and maker.kind == "RESHAPE":
            assert maker.inputs[0] is not None
            return self.reshape(maker.inputs[0], target)
        return self.copied(x, target)

    def _reshaped_ragged(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """To a shape whose one open size the kernel finds; that is all of it where a number is asked for."""
        target = _whole(shape, x.size)
        made = self.add(
            "RESHAPE", [x, self.integers(shape)], target, x.dtype, x.codes, new_shape=tuple(shape)
        )
        made.ragged = -1 in shape
        return made

    def copied(self, x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """A tensor of its own with the same elements."""
        target = tuple(x.shape if shape is None else shape)
        if x.ragged and shape is None:
            return self.add("RESHAPE", [x, self.sizes(x, range(len(target)))], target, x.dtype, x.codes)
        return self.add("RESHAPE", [x, self.integers(target)], target, x.dtype, x.codes, new_shape=target)

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        shape = tuple(x.shape[axis] for axis in order)
        kept = [axis for axis in order if x.shape[axis] != 1]
        if kept == sorted(kept) and not x.ragged:
            return self.reshape(x, shape)
        if x.values is not None and x.codes is None:
            return Tensor(x.name, shape, x.dtype, None, x.values.transpose(tuple(order)))
        return self.add("TRANSPOSE", [x, self.integers(list(order))], shape, x.dtype, x.codes)

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        """A part of this size; LiteRT 2.3 keeps the size of a SLICE whose operands are computed."""
        if tuple(size) == x.shape:
            return x
        if self.any_size:
            ends = [start + length for start, length in zip(begin, size, strict=True)]
            return self.strided(x, begin, ends, [1] * len(ends))
        return self.add("SLICE", [x, self.integers(begin), self.integers(size)], size, x.dtype, x.codes)

    def strided_slice(
        self, x: Tensor, begin: Sequence[int], end: Sequence[int], strides: Sequence[int]
    ) -> Tensor:
        """Spans [begin, end) in steps of at least 1."""
        sizes = [len(range(*span)) for span in zip(begin, end, strides, strict=True)]
        if all(stride == 1 for stride in strides):
            return self.slice(x, begin, sizes)
        return self.strided(x, begin, end, strides)

    def strided(self, x: Tensor, begin: Sequence[int], end: Sequence[int], strides: Sequence[int]) -> Tensor:
        """As `strided_slice`, by that operator also where SLICE would do."""
        sizes = [len(range(*span)) for span in zip(begin, end, strides, strict=True)]
        operands = [x, *map(self.integers, (begin, end, strides))]
        return self.add("STRIDED_SLICE", operands, sizes, x.dtype, x.codes)

    def sizes(self, x: Tensor, places: Sequence[int]) -> Tensor:
        """The sizes of these axes as they are when the network runs, as int32."""
        rank = len(x.shape)
        shape = self.add("SHAPE", [x], (rank,), "int32", shape_type="int32")
        if tuple(places) == tuple(range(rank)):
            return shape
        if places and tuple(places) == tuple(range(places[0], places[0] + len(places))):
            return self.strided(shape, [places[0]], [places[0] + len(places)], [1])
        return self.gather(shape, np.asarray(places, np.int32), 0)

    def gather(self, x: Tensor, indices: Operand, axis: int) -> Tensor:
        places = self.constant(indices)
        shape = (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])
        return self.add("GATHER", [x, places], shape, x.dtype, x.codes, axis=axis)

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.add("CONCATENATION", parts, shape, parts[0].dtype, parts[0].codes, axis=axis)

    def pad(self, x: Tensor, pads: Sequence[Sequence[int]], fill: float = 0) -> Tensor:
        """With 0, or another number, before and after each axis."""
        if not np.any(pads):
            return x
        shape = [size + sum(pad) for size, pad in zip(x.shape, pads, strict=True)]
        if len(shape) > _MOST_PADDED:
            starts = [
                axis for axis in range(len(shape)) if not axis or any(pads[axis]) or any(pads[axis - 1])
            ]
            if len(starts) < len(shape):
                joined = [int(np.prod(part)) for part in np.split(x.shape, starts[1:])]
                made = self.pad(self.reshape(x, joined), [pads[axis] for axis in starts], fill)
                return self.reshape(made, shape)
            half, none = len(pads) // 2, [(0, 0)] * len(pads)
            front, back = [*pads[:half], *none[half:]], [*none[:half], *pads[half:]]
            return self.pad(self.pad(x, front, fill), back, fill)
        operands = [x, self.integers(np.asarray(pads))]
        if not fill:
            return self.add("PAD", operands, shape, x.dtype, x.codes)
        value = self.constant(fill, "float32" if x.codes is not None else x.dtype)
        value = value if x.codes is None else self.quantize(value, x.codes)
        return self.add("PADV2", [*operands, value], shape, x.dtype, x.codes)

    def mirror_pad(self, x: Tensor, pads: Sequence[Sequence[int]], mode: str) -> Tensor:
        shape = [size + sum(pad) for size, pad in zip(x.shape, pads, strict=True)]
        return self.add(
            "MIRROR_PAD", [x, self.integers(np.asarray(pads))], shape, x.dtype, x.codes, mode=mode
        )

    def tile(self, x: Tensor, multiples: Sequence[int]) -> Tensor:
        if all(multiple == 1 for multiple in multiples):
            return x
        shape = [size * multiple for size, multiple in zip(x.shape, multiples, strict=True)]
        return self.add("TILE", [x, self.integers(multiples)], shape, x.dtype, x.codes)

    def split(self, x: Tensor, count: int, axis: int) -> list[Tensor]:
        """Into equal parts."""
        if count == 1:
            return [x]
        shape = list(x.shape)
        shape[axis] //= count
        place = self.constant(axis, "int32")
        return self.add_several("SPLIT", [place, x], [shape] * count, x.dtype, x.codes, num_splits=count)

    def unpack(self, x: Tensor, axis: int) -> list[Tensor]:
        shape, count = (*x.shape[:axis], *x.shape[axis + 1 :]), x.shape[axis]
        if count == 1:
            return [self.reshape(x, shape)]
        return self.add_several("UNPACK", [x], [shape] * count, x.dtype, x.codes, num=count, axis=axis)

    def pack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        first = parts[0]
        shape = (*first.shape[:axis], len(parts), *first.shape[axis:])
        if len(parts) == 1:
            return self.reshape(first, shape)
        return self.add("PACK", parts, shape, first.dtype, first.codes, values_count=len(parts), axis=axis)

    # Sums over axes, and products of matrices

    def reduce(
        self, kind: str, x: Tensor, axes: Sequence[int], keepdims: bool, codes: Codes | None = None
    ) -> Tensor:
        if not axes:
            return x
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
        return self.add(kind, [x, self.integers(axes)], shape, x.dtype, codes, keep_dims=keepdims)

    def without(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Without these axes, of size 1."""
        return self.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in axes])

    def connected(self, x: Tensor, kernel: Matrix, bias: Array) -> Tensor:
        """Rows of the last axis times a kernel, in numbers."""
        shape = (*x.shape[:-1], len(kernel))
        operands = [x, self._matrix(kernel), self.constant(bias)]
        return self.add("FULLY_CONNECTED", operands, shape, keep_num_dims=len(shape) > 2)

    def _matrix(self, kernel: Matrix) -> Tensor:
        """A kernel in numbers: of codes the runtime makes these, once."""
        if kernel.scale is None:
            return self.constant(kernel.values)
        key = (kernel.values.__array_interface__["data"][0], kernel.values.shape)
        if key not in self._matrices:
            codes = Codes(kernel.scale, np.zeros(len(kernel), np.int64), 0)
            stored = Tensor("", kernel.values.shape, codes.dtype, codes, codes.of(kernel.values))
            self._matrices[key] = self.dequantize(stored)
        return self._matrices[key]

    def batch_matmul(
        self,
        x: Tensor,
        y: Tensor,
        turn_x: bool = False,
        turn_y: bool = False,
        codes: Codes | None = None,
    ) -> Tensor:
        """Of the last two axes; `turn_x` and `turn_y` swap them first."""
        rows = x.shape[-1] if turn_x else x.shape[-2]
        columns = y.shape[-2] if turn_y else y.shape[-1]
        shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), rows, columns)
        return self.add("BATCH_MATMUL", [x, y], shape, x.dtype, codes, adj_x=turn_x, adj_y=turn_y)


def _whole(shape: Sequence[int], size: int) -> Shape:
    """The shape with its −1 replaced."""
    target = [int(each) for each in shape]
    if -1 in target:
        known = int(np.prod([each for each in target if each != -1], dtype=np.int64))
        target[target.index(-1)] = size // known if known else 0
    return tuple(target)
