"""In which order a `.tflite` stores the axes of its inputs and outputs."""

from collections.abc import Mapping
from typing import Literal

import onnx

from edgepress.errors import ConfigError
from edgepress.graph.axes import Place
from edgepress.graph.channels import Channels, channels_of
from edgepress.graph.shapes import inferred_infos, without_weights
from edgepress.translate.grouping import find_group_norms
from edgepress.translate.layout import Order, channels_last, plain
from edgepress.translate.reading import inputs_of

Wanted = Literal["nhwc", "nchw", "as-is"]


def network_channels(model: onnx.ModelProto) -> Channels:
    """Where the tensors of a normalised model have channels; weights are not looked at."""
    light, _ = without_weights(model)
    find_group_norms(light)
    return channels_of(light, inferred_infos(light))


def end_orders(
    model: onnx.ModelProto,
    channels: Channels,
    keep: bool = False,
    wanted: Mapping[str, Wanted] | None = None,
) -> dict[str, Order]:
    """The order of each input and output: an image with its channels first gets them last, all else is kept.

    What is an image the operators show (`edgepress.graph.channels`); sequences stay as they are.

    Args:
        model: normalised, shapes inferred.
        channels: the model's.
        keep: also images stay as they are.
        wanted: how the `.tflite` has an input or output, by name, whatever it is in the model.

    Returns:
        Orders by name: stored axis i holds the model's axis `order[i]`.

    Raises:
        ConfigError: an order of channels is wanted of less than three axes.
    """
    asked = wanted or {}
    names = [*inputs_of(model), *(output.name for output in model.graph.output)]
    return {name: _order(name, channels, keep, asked.get(name)) for name in names}


def _order(name: str, channels: Channels, keep: bool, wanted: Wanted | None) -> Order:
    place, rank = channels.of(name), channels.rank(name)
    if wanted is None:
        image = rank > 3 and place == "first" and not keep
        return channels_last(rank).order if image else plain(rank).order
    if wanted != "as-is" and rank < 3:
        raise ConfigError(
            f"--layout {name}={wanted} asks for the place of channels, but {name!r} has {rank} axes; "
            "expected as-is, or a tensor of three axes or more"
        )
    return _moved(rank, place, wanted)


def _moved(rank: int, place: Place, wanted: Wanted) -> Order:
    """What is not known to have its channels last has them first."""
    if wanted == "nhwc" and place != "last":
        return channels_last(rank).order
    if wanted == "nchw" and place == "last":
        return (0, rank - 1, *range(1, rank - 1))
    return plain(rank).order
