"""What a file of `metrics/` holds, got by dotted keys."""

from pathlib import Path
from typing import Any

from edgepress.artifacts import broken, read_json
from edgepress.errors import ArtifactError


class Metrics:
    """A metrics file, whose values are got by dotted keys."""

    def __init__(self, path: Path, values: dict[str, Any] | None = None) -> None:
        self._path = path
        self.values = read_json(path) if values is None else values

    def below(self, key: str) -> "Metrics":
        """The part below a key."""
        values = self.any(key)
        if not isinstance(values, dict):
            raise broken(self._path, "the metrics of this version", f"no section {key}")
        return Metrics(self._path, values)

    def number(self, key: str) -> float:
        """A value that must be there."""
        value = self.optional(key)
        if value is None:
            raise self._no_number(key)
        return value

    def optional(self, key: str) -> float | None:
        """A number, or None where there is none."""
        value = self.any(key)
        if value is not None and not isinstance(value, int | float):
            raise self._no_number(key)
        return value

    def _no_number(self, key: str) -> ArtifactError:
        return broken(self._path, "the metrics of this version", f"no number {key}")

    def any(self, key: str) -> Any:
        """Whatever is there."""
        value: Any = self.values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value
