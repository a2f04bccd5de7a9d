"""For a choice that `conf/` does not have, the nearest name in one line, also from within `dvc exp run -S`.

DVC lets Hydra look for plugins in this folder. Hydra asks every source of configurations on its search path
for `quant/int7`; the one added here is the last, so what it is asked for no other has.
"""

from pathlib import Path
from typing import Any
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
    """Puts `Hints` behind the project's own `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for element in list(search_path.get_path()):
            conf = str(element.path).removeprefix("file://")
            if element.provider == "main" and Path(conf).is_dir():
                search_path.append(provider="edgepress", path=f"{SCHEME}://{quote(conf)}")
