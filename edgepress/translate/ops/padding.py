"""ONNX's explicit padding in TensorFlow's terms."""

from dataclasses import dataclass

from edgepress.translate.planner import Node, Planner, Value, unsupported


@dataclass(frozen=True)
class Window:
    """A sliding window over H and W; `same` says that the pads follow from the sizes as in TensorFlow."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    same: bool = False


def window(node: Node, value: Value, kernel: tuple[int, ...]) -> Window:
    """The window of a convolution or pooling node over `value`, with `auto_pad` resolved."""
    spatial, a = len(kernel), node.attributes
    strides, dilations = (_widened(a.get(key), spatial, 1) for key in ("strides", "dilations"))
    sizes = value.shape[2:]
    if None in sizes:
        raise unsupported(node, f"the image size {sizes} is not fixed")
    auto = a.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(sizes, kernel, strides, dilations)
        pads = pads if auto == "SAME_UPPER" else tuple((hi, lo) for lo, hi in pads)
    elif auto == "VALID":
        pads = ((0, 0),) * spatial
    else:
        flat = a.get("pads", [])
        half = len(flat) // 2
        pads = tuple(zip(_widened(flat[:half], spatial, 0), _widened(flat[half:], spatial, 0), strict=True))
    if min(min(pad) for pad in pads) < 0:
        raise unsupported(node, f"its pads {pads} crop; expected none below 0")
    return Window(kernel, strides, dilations, pads, auto == "SAME_UPPER")


def _widened(given: list[int] | None, spatial: int, fill: int) -> tuple[int, ...]:
    """An attribute for each image axis; a sequence has no height, which takes `fill`."""
    values = tuple(given or ())
    return (*(fill,) * (spatial - len(values)), *values)


def pad_mode(planner: Planner, value: Value, w: Window) -> str | None:
    """TensorFlow's own mode for this padding, or None where it needs a step of its own."""
    if planner.any_size and max(w.strides) > 1 and (w.same or any(map(any, w.pads))):
        return "SAME" if w.same else None
    if not any(lo or hi for lo, hi in w.pads):
        return "VALID"
    return "SAME" if w.pads == _same(value.shape[2:], w.kernel, w.strides, w.dilations) else None


def padded(node: Node, planner: Planner, value: Value, w: Window, fill: float = 0.0) -> tuple[Value, str]:
    """The operand, padded by a step where TensorFlow has no mode for it, and the mode to use then."""
    mode = pad_mode(planner, value, w)
    if mode is not None:
        return value, mode
    pads = ((0, 0), *w.pads, (0, 0))
    return planner.emit_between(node, "pad", value, "padded", pads=pads, fill=fill), "VALID"


def _same(
    sizes: tuple[int | None, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """TensorFlow's SAME padding: ceil(size / stride) outputs, the odd pixel at the end."""
    pads = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        assert size is not None
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)
