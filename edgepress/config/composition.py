"""`conf/` → the content of `params.yaml`, composed by Hydra as `dvc exp run` does it; and the check of both.

`dvc repro` composes nothing, so an edit in `conf/` alone would silently change nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgepress.config.load import PARAMS, read
from edgepress.config.schema import unknown
from edgepress.config.validation import SECTIONS, validate
from edgepress.errors import ConfigError

CONF = Path("conf")

_ABSENT = object()
_SHOWN = 4
_REMEDIES = (
    "To return to conf/, after an edit there or an experiment with -S: edgepress compose. "
    "To keep the values of params.yaml, make them the default in conf/"
)


def compose(overrides: Sequence[str] = (), conf: Path = CONF) -> str:
    """The YAML text that `dvc exp run` with these overrides writes to `params.yaml`.

    Raises:
        ConfigError: an override, or `conf/` itself, does not compose.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with hydra.initialize_config_dir(str(conf.resolve()), version_base=None):
            composed = hydra.compose("config", overrides=list(overrides))
        OmegaConf.resolve(composed)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise _explain(error, overrides, conf) from error
    return str(OmegaConf.to_yaml(composed))


def check(params: Path = PARAMS, conf: Path = CONF) -> None:
    """Refuse a `params.yaml` that is not valid or not what `conf/` composes to.

    Raises:
        ConfigError: naming the values that differ and both remedies.
    """
    validate(params)
    differing = list(_differences(read(params), yaml.safe_load(compose(conf=conf)), params.name))
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise ConfigError(
            f"{params.name} differs from conf/: {', '.join(differing[:_SHOWN])}{more}. {_REMEDIES}"
        )


def _differences(params: Mapping[str, Any], composed: Mapping[str, Any], name: str) -> Iterator[str]:
    ours, theirs = dict(_leaves(params)), dict(_leaves(composed))
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        here, there = ours.get(key, _ABSENT), theirs.get(key, _ABSENT)
        if here != there or type(here) is not type(there):
            yield f"{key} is {_show(here)} in {name} but {_show(there)} in conf/"


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _show(value: object) -> str:
    return "absent" if value is _ABSENT else repr(value)


def _explain(error: Exception, overrides: Sequence[str], conf: Path) -> ConfigError:
    """Hydra's error in one line, without its advice to add keys that no stage would read."""
    missing, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if missing and options:
        group, _, choice = missing.partition("/")
        return unknown(group, choice, options)
    if match := re.match(r"Could not override '([^']+)'", str(error)):
        return _unknown_key(match[1], overrides, conf)
    message = re.split(r"\n(?:Config search path|See https)", str(error))[0]
    return ConfigError(f"{' '.join(message.split()).rstrip('.')}. For groups, choices and keys see conf/")


def _unknown_key(key: str, overrides: Sequence[str], conf: Path) -> ConfigError:
    others = [one for one in overrides if one.partition("=")[0] != key]
    known = [name for name, _ in _leaves(yaml.safe_load(compose(others, conf)))]
    section = key.split(".")[0]
    siblings = [name for name in known if name.split(".")[0] == section]
    return unknown("key", key, siblings or SECTIONS)
