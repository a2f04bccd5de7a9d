"""Turns plain YAML values into frozen dataclasses, refusing whatever does not fit by name."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from edgepress.errors import ConfigError

T = TypeVar("T")


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Refuse `value` unless `holds`.

    Raises:
        ConfigError: naming the key below its section, the value and what is allowed.
    """
    if not holds:
        raise ConfigError(f"{key} is {value!r}; expected {allowed}")


def unknown(what: str, value: object, allowed: Collection[str]) -> ConfigError:
    """The error for a name that is not in a fixed set, with the nearest one suggested."""
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{what} {value!r} is unknown; expected one of: {', '.join(sorted(allowed))}.{hint}")


def build(cls: type[T], raw: object, where: str) -> T:
    """Fill the dataclass `cls` from the mapping `raw`; `where` is its dotted path in params.yaml.

    A field whose metadata has `choices` takes sections by name, for each of which its own `name` chooses.

    Raises:
        ConfigError: a key is missing or unknown, or a value has the wrong type or range.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where} is {raw!r}; expected a section with keys")
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
        raise ConfigError(f"{where} is {raw!r}; expected a section with keys")
    key = "choice" if "choice" in raw else "name"
    name = raw.get(key)
    if not isinstance(name, str) or name not in choices:
        raise unknown(f"{where}.{key}", name, list(choices))
    return build(choices[name], {other: value for other, value in raw.items() if other != key}, where)


def _members(choices: Mapping[str, type[Any]], raw: object, where: str) -> dict[str, Any]:
    """Sections under names of the user's, each one of `choices`; the field says so in its metadata."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where} is {raw!r}; expected a section with keys")
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
        if value not in arguments:
            raise unknown(where, value, [str(a) for a in arguments])
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ConfigError(f"{where} is {value!r}, {_article(type(value).__name__)}; expected {_describe(hint)}")


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
