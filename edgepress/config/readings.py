"""What YAML 1.1 (Hydra, of `conf/`) and YAML 1.2 (DVC, of `params.yaml`) read differently is refused."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgepress import files
from edgepress.config.schema import show
from edgepress.config.yaml_text import parse_yaml
from edgepress.errors import ConfigError

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
    from omegaconf._utils import get_yaml_loader  # with which Hydra reads conf/

    for file in sorted(conf.rglob("*.yaml")):
        content = files.read(file, files.MAX_TEXT_BYTES, ConfigError)
        by_dvc = dict(leaves(parse_yaml(content, str(file))))
        by_hydra = dict(leaves(get_yaml_loader()(content).get_single_data()))
        for key, value in by_dvc.items():
            other = by_hydra.get(key, _ABSENT)
            if not same(value, other):
                raise ConfigError(
                    f"{key} in {file} is {show(value)} in YAML 1.2, as DVC reads it, but "
                    f"{'absent' if other is _ABSENT else show(other)} in YAML 1.1, as Hydra reads it; "
                    "expected what both take alike. Write numbers in full, true or false, and quotes around "
                    "texts"
                )


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
