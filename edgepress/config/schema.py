"""Turns plain YAML values into frozen dataclasses, refusing whatever does not fit by name."""

import dataclasses
import difflib
import math
import types
import typing
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from edgepress.errors import ConfigError
from edgepress.text import shown

T = TypeVar("T")

LONGEST_TEXT = 4096
"""The most characters of a text value, which is the longest path that Linux takes."""

_LARGEST = 2**53  # beyond it, floating-point numbers skip integers
_SHOWN = 100


def show(value: object) -> str:
    """A value for a message: as Python writes it, on one line and cut where it is long."""
    if isinstance(value, int) and abs(value) > 10**_SHOWN:
        return f"an integer of {value.bit_length()} bits"
    return shown(repr(value), _SHOWN)


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Refuse `value` unless `holds`.

    Raises:
        ConfigError: naming the key below its section, the value and what is allowed.
    """
    if not holds:
        raise ConfigError(f"{key} is {show(value)}; expected {allowed}")


def require_integer(key: str, value: int, low: int, high: int) -> None:
    """Refuse an integer outside [`low`, `high`].

    Raises:
        ConfigError: as `require`.
    """
    require(low <= value <= high, key, value, f"an integer in [{low}, {high}]")


def require_number(key: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Refuse a number outside [`low`, `high`], and NaN.

    Raises:
        ConfigError: as `require`.
    """
    require(low <= value <= high, key, value, f"a number in [{low:g}, {high:g}]{unit}")


def require_positive(key: str, value: float, high: float, unit: str = "") -> None:
    """Refuse a number outside (0, `high`], and NaN.

    Raises:
        ConfigError: as `require`.
    """
    require(0 < value <= high, key, value, f"a number in (0, {high:g}]{unit}")


def unknown(what: str, value: object, allowed: Collection[str]) -> ConfigError:
    """The error for a name that is not in a fixed set, with the nearest one suggested."""
    near = nearest(value, allowed)
    hint = f" Did you mean {near!r}?" if near else ""
    expected = ", ".join(sorted(allowed))
    return ConfigError(f"{what} {show(value)} is unknown; expected one of: {expected}.{hint}")


def nearest(value: object, allowed: Collection[str], alike: float = 0.6) -> str | None:
    """The name in a set that a misspelt one is most like, in letters of any case; None if none is so."""
    lowered = {name.lower(): name for name in allowed}
    near = difflib.get_close_matches(str(value)[:_SHOWN].lower(), lowered, n=1, cutoff=alike)
    return lowered[near[0]] if near else None


def build(cls: type[T], raw: object, where: str) -> T:
    """Fill the dataclass `cls` from the mapping `raw`; `where` is its dotted path in params.yaml.

    A field whose metadata has `choices` takes sections by name, for each of which its own `name` chooses.

    Raises:
        ConfigError: a key is missing or unknown, or a value has the wrong type or range.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where} is {show(raw)}; expected a section with keys")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in raw:
        if key not in fields:
            raise unknown("key", f"{where}.{key}", [f"{where}.{name}" for name in fields])
    values = {}
    for name, field in fields.items():
        if name in raw and "choices" in field.metadata:
            values[name] = _members(field.metadata["choices"], raw[name], f"{where}.{name}")
        elif name in raw:
            values[name] = _convert(hints[name], raw[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}.{name} is missing; expected {_describe(hints[name])}")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None


def choose(choices: Mapping[str, type[T]], raw: object, where: str) -> T:
    """As `build`, for the class that `name` selects.

    Where the name is something else, as with `model=timm`, the key `choice` does.

    Raises:
        ConfigError: the name is not one of `choices`, or the rest does not fit the class.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where} is {show(raw)}; expected a section with keys")
    key = "choice" if "choice" in raw else "name"
    name = raw.get(key)
    if not isinstance(name, str) or name not in choices:
        raise unknown(f"{where}.{key}", name, list(choices))
    return build(choices[name], {other: value for other, value in raw.items() if other != key}, where)


def _members(choices: Mapping[str, type[Any]], raw: object, where: str) -> dict[str, Any]:
    """Sections under names of the user's, each one of `choices`; the field says so in its metadata."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where} is {show(raw)}; expected a section with keys")
    return {str(name): choose(choices, section, f"{where}.{name}") for name, section in raw.items()}


def _convert(hint: Any, value: object, where: str) -> Any:
    if value == "???":
        if type(None) in typing.get_args(hint):
            return None
        raise ConfigError(f"{where} is not set; give it a value, e.g. dvc exp run -S '{where}=...'")
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is typing.Literal:
        if not any(value == one and type(value) is type(one) for one in arguments):
            raise unknown(where, value, [str(a) for a in arguments])
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return dict(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and (hint is float or type(value) is hint):
        _require_magnitude(typing.cast(float, value), where)
        return float(typing.cast(float, value)) if hint is float else value
    if isinstance(hint, type) and type(value) is hint:
        if isinstance(value, str):
            _require_text(value, where)
        return value
    kind = _article(type(value).__name__)
    raise ConfigError(f"{where} is {show(value)}, {kind}; expected {_describe(hint)}")


def _require_magnitude(value: float, where: str) -> None:
    """Refuse what no setting here can be, before a dataclass compares it with its own limits."""
    if isinstance(value, int):
        require(abs(value) <= _LARGEST, where, value, "a number of at most 16 digits")
    require(math.isfinite(value), where, value, "a finite number")


def _require_text(value: str, where: str) -> None:
    require(value.strip() != "", where, value, "a text that is not empty")
    require(not _has_control_characters(value), where, value, "a text on one line, of printable characters")
    require(len(value) <= LONGEST_TEXT, where, value, f"a text of at most {LONGEST_TEXT} characters")


def _has_control_characters(text: str) -> bool:
    """Whether a text holds line breaks, or others that cannot be seen, such as half of a surrogate pair."""
    return any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def _describe(hint: Any) -> str:
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    if hint in words:
        return words[hint]
    if typing.get_origin(hint) is typing.Literal:
        return "one of: " + ", ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _describe(a) for a in typing.get_args(hint))
    return "a list" if typing.get_origin(hint) is tuple else "a section with keys"


def _article(type_name: str) -> str:
    return ("an " if type_name[0] in "aeiou" else "a ") + type_name
