"""Every reader takes mutated files or refuses them in one line, in bounded time and memory."""

import os
from pathlib import Path

import pytest

from tests.mutations import READERS, run

CASES = int(os.environ.get("EDGEPRESS_FUZZ_CASES", "500"))
"""Mutated files to feed; EDGEPRESS_FUZZ_CASES=50000, or `make fuzz`, for a long run."""


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_are_taken_or_refused_in_a_line(reader: str, tmp_path: Path) -> None:
    cases = -(-CASES * READERS[reader].share // sum(each.share for each in READERS.values()))
    found = run(cases, seed=0, folder=tmp_path, only=[reader])
    assert found[f"{reader}: taken"] > 0
    assert found[f"{reader}: refused"] > 0
