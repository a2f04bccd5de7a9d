"""Reads `params.yaml`, which Hydra composed from `conf/`, one section at a time."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from edgepress import files
from edgepress.config.schema import build, choose, require, require_integer, require_number, show
from edgepress.config.yaml_text import parse_yaml
from edgepress.errors import ConfigError

T = TypeVar("T")

PARAMS = Path("params.yaml")

Params = Path | Mapping[str, Any]
"""A file of parameters, or what was read from one."""

MOST_THREADS = 1024
"""More than any computer here has cores; PyTorch and TensorFlow make as many as they are told."""


@dataclass(frozen=True)
class Off:
    """The choice `none`: the stage passes its input through."""


@dataclass(frozen=True)
class Runtime:
    """What every computing stage needs to be repeatable bit for bit."""

    seed: int
    threads: int

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "an integer in [0, 2**32)")
        require_integer("threads", self.threads, 1, MOST_THREADS)


@dataclass(frozen=True)
class Warnings:
    """`max_drop` is how much accuracy on the validation split a stage may cost before it is warned of."""

    max_drop: float

    def __post_init__(self) -> None:
        require_number("max_drop", self.max_drop, 0, 1)


def load_section(section: str, cls: type[T], params: Params = PARAMS) -> T:
    """The section at a dotted path, e.g. `train.augment`, as an instance of `cls`.

    Raises:
        ConfigError: the section is missing or does not fit `cls`.
    """
    return _with_remedy(section, lambda: build(cls, _lookup(section, params), section))


def named(config: object, choices: Mapping[str, type[Any]]) -> dict[str, Any]:
    """The parameters of a choice as plain values, with the name under which it is chosen."""
    return {"name": next(name for name, cls in choices.items() if cls is type(config)), **asdict(config)}  # type: ignore[call-overload]


def load_choice(section: str, choices: Mapping[str, type[T]], params: Params = PARAMS) -> T:
    """The section of a config group as an instance of the class that its `name` selects.

    Raises:
        ConfigError: the name is not one of `choices`, or the rest does not fit the class.
    """
    return _with_remedy(section, lambda: choose(choices, _lookup(section, params), section))


def load_name(section: str, params: Params = PARAMS) -> str:
    """The name of the choice in the section of a config group.

    Raises:
        ConfigError: the section or its name is missing.
    """
    name = _with_remedy(section, lambda: _lookup(section, params)).get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{section}.name is {show(name)}; expected a choice. Set it in conf/{section}/")
    return name


def load_runtime(params: Params = PARAMS) -> Runtime:
    """The top-level `seed` and `threads`."""
    return _top_level(Runtime, params)


def load_max_drop(params: Params = PARAMS) -> float:
    """The top-level `max_drop`.

    No stage declares it: what a stage writes does not depend on it, only whether the stage warns. So a change
    of it runs nothing anew, and `edgepress results` warns by the present value.
    """
    return _top_level(Warnings, params).max_drop


def read(params: Path = PARAMS) -> Mapping[str, Any]:
    """The whole file, not yet validated.

    Raises:
        ConfigError: it is absent or not YAML with sections.
    """
    try:
        content = files.read(params, files.MAX_TEXT_BYTES, ConfigError)
    except FileNotFoundError:
        raise ConfigError(f"{params} does not exist; run this in the project's folder") from None
    raw = parse_yaml(content, str(params))
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{params} is empty or not a mapping; restore it with: edgepress compose")
    return raw


def read_values(params: Params) -> Mapping[str, Any]:
    """The whole of the parameters, which are read if they are a file."""
    return read(params) if isinstance(params, Path) else params


def _top_level(cls: type[T], params: Params) -> T:
    raw = read_values(params)
    try:
        return build(cls, {field.name: raw[field.name] for field in fields(cls) if field.name in raw}, "")  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(f"{str(error).removeprefix('.')}. Set it in conf/config.yaml.") from None


def _with_remedy(section: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except ConfigError as error:
        group = section.split(".")[0]
        message = str(error) if str(error).endswith((".", "?")) else f"{error}."
        raise ConfigError(f"{message} Set it in conf/{group}/ or with -S.") from None


def _lookup(section: str, params: Params) -> Mapping[str, Any]:
    raw: Any = read_values(params)
    for key in section.split("."):
        if not isinstance(raw, Mapping) or key not in raw:
            raise ConfigError(f"{section} is missing; expected a section with keys")
        raw = raw[key]
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{section} is {show(raw)}; expected a section with keys")
    return raw
