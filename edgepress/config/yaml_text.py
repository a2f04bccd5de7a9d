"""YAML as DVC reads it: version 1.2, by the same library, so that a value is the same to DVC and to a stage.

In YAML 1.1, which PyYAML and Hydra read, `010` is 8, `yes` is true and `1e-3` is a text.
"""

from collections.abc import Iterator
from typing import Any

from edgepress.errors import ConfigError
from edgepress.system import exhausted
from edgepress.text import one_line

_MOST_VALUES = 100_000
_DEEPEST = 50


def parse_yaml(content: bytes | str, where: str) -> Any:
    """The value of a YAML text; anchors count as often as they are used.

    Args:
        content: the text, UTF-8.
        where: what it is, for messages, e.g. `params.yaml`.

    Raises:
        ConfigError: it is no YAML 1.2 of plain values, holds a key twice, or far too much.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = content if isinstance(content, str) else content.decode()
        _refuse_depth(text, where)
        value = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {_reason(error)}") from None
    except ConfigError:
        raise
    except Exception as error:  # not UTF-8, numbers that Python refuses, tags that do not fit: anything
        if exhausted(error):
            raise
        raise ConfigError(f"{where} is not valid YAML: {one_line(error, 400)}") from None
    _refuse_bulk(value, where)
    return value


def _reason(error: Exception) -> str:
    """The parser's words in one line, without its advice for programmers."""
    lines = [line for line in str(error).splitlines() if "unicode string" not in line or " line " in line]
    told = " ".join(lines).split("To suppress this check")[0].replace('in "<unicode string>", ', "at ")
    return one_line(told, 400)


def _refuse_depth(text: str, where: str) -> None:
    """Refuse levels upon levels before the library, recursive and in C, makes values of them and crashes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for number, event in enumerate(YAML(typ="safe").parse(text)):
        if number > 3 * _MOST_VALUES:  # a value has one event, a section two
            raise _too_much(where)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"{where} is nested more than {_DEEPEST} deep; expected plain sections")


def _too_much(where: str) -> ConfigError:
    return ConfigError(
        f"{where} holds more than {_MOST_VALUES:,} values or {_DEEPEST} levels, anchors included; "
        "expected plain sections. Write the values out, without anchors"
    )


def _refuse_bulk(value: object, where: str) -> None:
    """Refuse what anchors make large, or endless."""
    count = 0
    waiting: list[Iterator[object]] = [iter([value])]
    while waiting:
        inner = next(waiting[-1], waiting)
        if inner is waiting:
            waiting.pop()
            continue
        count += 1
        if count > _MOST_VALUES or len(waiting) > _DEEPEST:
            raise _too_much(where)
        if isinstance(inner, dict):
            waiting.append(iter(inner.values()))
        elif isinstance(inner, list | tuple | set):
            waiting.append(iter(inner))
