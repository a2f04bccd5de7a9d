"""What `dvc exp run` is asked for, refused in one line before DVC changes a file, where it makes no sense.

DVC lets Hydra look for plugins in this folder. A plugin may add sources of configurations; the one here has
none to give. Hydra looks for sources before it reads an override, which is when all of them are composed and
validated as `edgepress compose` does it. Where that is not possible, since not DVC's command line but another
program calls Hydra, the source is still asked for each choice that no other has, and tells of the nearest.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

SCHEME = "edgepress-hints"


class Hints(ConfigSource):
    """Has each choice of this project's groups that is nowhere else; to load one tells of the nearest."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return False

    def is_config(self, config_path: str) -> bool:
        group, _, choice = config_path.rpartition("/")
        return self._is_own(group) and choice.removesuffix(".yaml") not in self._choices(group)

    def load_config(self, config_path: str) -> ConfigResult:
        from edgepress.config.schema import unknown

        group, _, choice = config_path.removesuffix(".yaml").rpartition("/")
        raise unknown(group, choice, self._choices(group))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []

    def _choices(self, group: str) -> Any:
        return sorted(file.stem for file in self._conf().joinpath(group).glob("*.yaml"))

    def _is_own(self, group: str) -> bool:
        from edgepress.config.validation import SECTIONS

        return group in SECTIONS and self._conf().joinpath(group).is_dir()

    def _conf(self) -> Path:
        return Path(unquote(self.path))


class HintsAtTheEnd(SearchPathPlugin):
    """Puts `Hints` behind the project's own `conf/`, and looks at what DVC is asked for, once."""

    looked = False

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for element in list(search_path.get_path()):
            conf = str(element.path).removeprefix("file://")
            if element.provider == "main" and Path(conf).is_dir():
                search_path.append(provider="edgepress", path=f"{SCHEME}://{quote(conf)}")
                if not HintsAtTheEnd.looked:  # composing asks for the search path again
                    HintsAtTheEnd.looked = True
                    _refuse_what_is_asked(Path(conf))


def _refuse_what_is_asked(conf: Path) -> None:
    """Compose and validate each set of overrides on DVC's command line."""
    from edgepress.config.composition import compose
    from edgepress.config.validation import validate
    from edgepress.config.yaml_text import parse_yaml
    from edgepress.errors import ConfigError

    for overrides in _asked():
        try:
            validate(parse_yaml(compose(overrides, conf), "conf/"))
        except ConfigError as error:
            _refuse(str(error))


def _asked() -> Iterator[list[str]]:
    """The sets of overrides that `dvc exp run` is asked to compose; none if another program is running."""
    if "dvc.cli" not in sys.modules:
        return
    from dvc.cli import DvcParserError, parse_args
    from dvc.dependency.param import ParamsDependency
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import get_hydra_sweeps, to_hydra_overrides

    try:
        options = parse_args(sys.argv[1:])
    except DvcParserError:  # DVC, called by another program
        return
    own = ParamsDependency.DEFAULT_PARAMS_FILE
    if hasattr(options, "set_param"):
        overrides = to_path_overrides(options.set_param).get(own, [])
        if any(each.is_sweep_override() for each in to_hydra_overrides(overrides)):
            yield from (each[own] for each in get_hydra_sweeps({own: overrides}))
        else:
            yield overrides


def _refuse(line: str) -> NoReturn:
    from dvc.exceptions import DvcException

    raise DvcException(line) from None
