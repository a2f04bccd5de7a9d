"""`conf/` → the content of `params.yaml`, composed by Hydra as `dvc exp run` does it."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from edgepress.config.readings import leaves, refuse_another_reading, refuse_two_readings
from edgepress.config.schema import unknown
from edgepress.config.validation import SECTIONS
from edgepress.config.yaml_text import parse_yaml
from edgepress.errors import ConfigError
from edgepress.text import one_line, shown

CONF = Path("conf")

_SEE_CONF = "For groups, choices and keys see conf/"


def compose(overrides: Sequence[str] = (), conf: Path = CONF) -> str:
    """The YAML text that `dvc exp run` with these overrides writes to `params.yaml`.

    Raises:
        ConfigError: an override, or `conf/` itself, does not compose.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    refuse_two_readings(conf)
    _refuse_nameless_choices(overrides, conf)
    try:
        with hydra.initialize_config_dir(str(conf.resolve()), version_base=None):
            composed = hydra.compose("config", overrides=list(overrides))
        OmegaConf.resolve(composed)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise _explain(error, overrides, conf) from error
    except (
        ValueError,
        TypeError,
        RecursionError,
    ) as error:  # Hydra's own, of overrides that it did not expect
        raise ConfigError(f"conf/ does not compose: {one_line(error, 400)}. {_SEE_CONF}") from error
    text = str(OmegaConf.to_yaml(composed))
    refuse_another_reading(text, OmegaConf.to_container(composed))
    return text


def _refuse_nameless_choices(overrides: Sequence[str], conf: Path) -> None:
    """Refuse for a group what is no name of a choice, such as `quant=null` or `quant=[int8]`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise _explain(error, overrides, conf) from error
    for override in parsed:
        choices = sorted(file.stem for file in (conf / override.key_or_group).glob("*.yaml"))
        value = "" if override.is_delete() else override.get_value_string()
        if choices and not override.is_delete() and (not isinstance(override.value(), str) or "$" in value):
            off = f" To switch it off: {override.key_or_group}=none." if "none" in choices else ""
            raise ConfigError(
                f"{override.key_or_group}={shown(value)} is no name of a choice; expected one of: "
                f"{', '.join(choices)}.{off}"
            )


def _explain(error: Exception, overrides: Sequence[str], conf: Path) -> ConfigError:
    """Hydra's error in one line, without its advice to add keys that no stage would read."""
    missing, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if missing and options:
        group, _, choice = missing.partition("/")
        return unknown(group, choice, options)
    if match := re.match(r"Could not override '([^']+)'", str(error)):
        return _unknown_key(match[1], overrides, conf)
    message = re.split(r"\n(?:Config search path|See https)", str(error))[0]
    return ConfigError(f"{' '.join(message.split()).rstrip('.')}. {_SEE_CONF}")


def _unknown_key(key: str, overrides: Sequence[str], conf: Path) -> ConfigError:
    others = [one for one in overrides if one.partition("=")[0] != key]
    known = [name for name, _ in leaves(parse_yaml(compose(others, conf), "conf/"))]
    section = key.split(".")[0]
    siblings = [name for name in known if name.split(".")[0] == section]
    return unknown("key", key, siblings or SECTIONS)
