"""What `convert-tflite` notes beside its files: how these store axes, or why there are none."""

from dataclasses import dataclass
from typing import Any

from edgepress.artifacts import broken, model_path, read_json, write_json
from edgepress.devices.base import Orders

NOTE = model_path("convert-tflite", "conversion.json")

_MOST_AXES = 16


@dataclass(frozen=True)
class Conversion:
    """Which converter made the `.tflite` files, and how these store the axes of inputs and outputs.

    `orders` have all inputs, then all outputs, by the names that they have in ONNX. Where no file was made it
    is None, and `reason` says why.
    """

    converter: str
    orders: Orders | None
    reason: str = ""


def save_conversion(conversion: Conversion) -> None:
    """Write the note."""
    orders = conversion.orders
    told = None if orders is None else {name: list(order) for name, order in orders.items()}
    write_json(NOTE, {"converter": conversion.converter, "reason": conversion.reason, "orders": told})


def load_conversion() -> Conversion:
    """Read the note.

    Raises:
        ArtifactError: it is absent or damaged.
    """
    values = read_json(NOTE)
    texts = [values.get(key) for key in ("converter", "reason")]
    orders = values.get("orders")
    sound = isinstance(orders, dict) and all(map(_is_order, orders.values()))
    if not all(isinstance(text, str) for text in texts) or not (orders is None or sound):
        raise broken(NOTE, "a note of convert-tflite", "another form")
    return Conversion(str(texts[0]), orders, str(texts[1]))


def _is_order(order: Any) -> bool:
    """Whether it is a permutation."""
    numbers = isinstance(order, list) and all(type(axis) is int for axis in order)
    return numbers and len(order) <= _MOST_AXES and sorted(order) == list(range(len(order)))
