"""What YAML 1.1 (Hydra, of `conf/`) and YAML 1.2 (DVC, of `params.yaml`) read differently is refused."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgepress import files
from edgepress.config.schema import show
from edgepress.config.yaml_text import parse_yaml
from edgepress.errors import ConfigError
from edgepress.system import exhausted
from edgepress.text import one_line, shown

_ABSENT = object()


def leaves(values: object, key: str = "") -> Iterator[tuple[str, object]]:
    """The values in sections and lists, by their dotted keys; an empty section or list is one."""
    if isinstance(values, Mapping) and (values or not key):
        for name, value in values.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list) and values:
        for place, value in enumerate(values):
            yield from leaves(value, f"{key}[{place}]")
    elif key:
        yield key, values


def refuse_two_readings(conf: Path) -> None:
    """Refuse values in `conf/` that YAML 1.1 and 1.2 take for different ones, such as `yes` or `010`.

    Raises:
        ConfigError: naming file, key and both readings; or a file is no YAML.
    """
    for file in sorted(conf.rglob("*.yaml")):
        content = files.read(file, files.MAX_TEXT_BYTES, ConfigError)
        value = parse_yaml(content, str(file))
        if not isinstance(value, Mapping | None):
            raise ConfigError(f"{shown(file)} is {show(value)}; expected a section with keys")
        _refuse_other_keys(value, file)
        by_dvc, by_hydra = dict(leaves(value)), dict(leaves(_as_hydra_reads(content, file)))
        for key, value in by_dvc.items():
            other = by_hydra.get(key, _ABSENT)
            if not same(value, other):
                raise ConfigError(
                    f"{key} in {file} is {show(value)} in YAML 1.2, as DVC reads it, but "
                    f"{'absent' if other is _ABSENT else show(other)} in YAML 1.1, as Hydra reads it; "
                    "expected what both take alike. Write numbers in full, true or false, and quotes around "
                    "texts"
                )


def _as_hydra_reads(content: bytes, file: Path) -> object:
    from omegaconf._utils import get_yaml_loader  # with which Hydra reads conf/

    try:
        return get_yaml_loader()(content).get_single_data()
    except Exception as error:  # the parser's, or of values that it cannot make
        if exhausted(error):
            raise
        raise ConfigError(
            f"{shown(file)} is not valid YAML 1.1, as Hydra reads it: {one_line(error, 400)}"
        ) from None


def _refuse_other_keys(value: object, file: Path) -> None:
    """Refuse keys that Hydra has no use for, or none that it tells of, such as null and lists."""
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        if not isinstance(name, str | int | float):
            raise ConfigError(f"{shown(file)} has the key {show(name)}; expected a name")
        _refuse_other_keys(inner, file)
    for inner in value if isinstance(value, list) else ():
        _refuse_other_keys(inner, file)


def refuse_another_reading(text: str, composed: object) -> None:
    """Refuse what DVC would read back from the text of `params.yaml` as another value, e.g. the text `0o10`.

    Raises:
        ConfigError: naming the key and both values.
    """
    there = dict(leaves(parse_yaml(text, "conf/")))
    for key, value in leaves(composed):
        if not same(value, there.get(key, _ABSENT)):
            raise ConfigError(
                f"{key} is {show(value)}, but DVC would read {show(there.get(key))} in params.yaml; expected "
                "a value that is the same in YAML 1.1 and 1.2. Choose another"
            )


def same(one: object, other: object) -> bool:
    """Whether two values are of one type and equal; NaN is NaN."""
    return type(one) is type(other) and (one == other or (one != one and other != other))
