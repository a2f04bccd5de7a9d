"""Phones that `adb` finds; see tests/phone.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.phone import StandIn


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A phone that works."""
    with pytest.MonkeyPatch.context() as patch:
        yield StandIn(tmp_path_factory.mktemp("adb")).attach(patch)


@pytest.fixture
def own_phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A phone to do with as one likes."""
    return StandIn(tmp_path).attach(monkeypatch)
