"""How the `.tflite` has the axes of its inputs and outputs, as the file shows it or the user wants it."""

from collections.abc import Mapping

import onnx

from edgepress.config.schema import unknown
from edgepress.errors import ConfigError
from edgepress.graph.channels import Channels
from edgepress.standalone.request import Layout, Request
from edgepress.text import shown
from edgepress.translate.ends import end_orders
from edgepress.translate.layout import Order


def chosen_orders(
    request: Request, read: onnx.ModelProto, model: onnx.ModelProto, channels: Channels
) -> dict[str, Order]:
    """The order of each input and output of the normalised `model`, by name; the user knows those of `read`.

    `channels` are those of `model`. onnx_tf keeps all axes as they are.

    Raises:
        ConfigError: `--layout` names no input or output, or one twice, or wants what its axes cannot give.
    """
    names = dict(zip(_ends(read), _ends(model), strict=True))
    wanted = {names[name]: layout for name, layout in _wanted(request, names).items()}
    return end_orders(model, channels, request.keep_shape or request.converter == "onnx_tf", wanted)


def _wanted(request: Request, names: Mapping[str, str]) -> dict[str, Layout]:
    wanted: dict[str, Layout] = {}
    for given in request.layouts:
        name, layout = request.layout(given)
        if name not in names:
            raise unknown("--layout names", name, names)
        if wanted.setdefault(name, layout) != layout:
            raise ConfigError(f"--layout names {name!r} twice, {wanted[name]} and {layout}; expected one")
    return wanted


def _ends(model: onnx.ModelProto) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry.name for entry in model.graph.input if entry.name not in constants]
    return [*inputs, *(output.name for output in model.graph.output)]


def told(read: onnx.ModelProto, model: onnx.ModelProto, orders: Mapping[str, Order]) -> list[str]:
    """A line for each input and output whose axes are not in the file's order."""
    count = len(_ends(model)) - len(model.graph.output)
    lines = []
    for place, (name, own) in enumerate(zip(_ends(read), _ends(model), strict=True)):
        order = orders.get(own, ())
        if list(order) != sorted(order):
            kind = "input" if place < count else "output"
            axes = ", ".join(map(str, order))
            last = "its channels last" if order[-1] == 1 else "its channels first"
            lines.append(f"  {kind} {shown(name)} has {last}: the file's axes {axes}")
    return lines
