"""A cross-section of `make conformance`: one of the standard's cases for each operator."""

import pytest

from tests.conformance.cases import LISTED, cases
from tests.networks import tensorflow

FIRST = {case.op: case for case in reversed(cases()[0])}


def test_only_operators_whose_cases_are_all_in_other_types_have_no_applicable_case() -> None:
    assert LISTED - FIRST.keys() == {"Cast", "Einsum", "ReduceLogSumExp"}


@pytest.mark.parametrize("op", sorted(FIRST))
def test_first_case_of_each_operator(op: str) -> None:
    tensorflow()
    from tests.conformance.converters import failure

    assert failure(FIRST[op], "nhwc") is None


@pytest.mark.parametrize("op", sorted(FIRST))
def test_the_file_computes_as_that_of_tensorflows_converter(op: str) -> None:
    tensorflow()
    from tests.conformance.converters import EQUAL, beside_oracle

    assert beside_oracle(FIRST[op]) == EQUAL


def test_every_skip_has_a_reason() -> None:
    found, skipped = cases()
    assert all(len(why) > 20 for why in skipped.values())
    assert not skipped.keys() & {case.name for case in found}
