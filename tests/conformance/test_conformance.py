"""A cross-section of `make conformance`: one of the standard's cases for each operator, and its body."""

import pytest

from edgepress.translate.ops.table import PLANNERS
from edgepress.translate.written.table import BODIES
from tests.conformance import reasons
from tests.conformance.cases import Case, cases
from tests.conformance.conformance import LEAST
from tests.networks import tensorflow

LATER = ("test_scan_sum", "test_scan_sum_expanded")
"""Of Scan as it was in opset 8."""
ALONE = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseNot", "Einsum", "IsInf", "Unique")
"""Of these TensorFlow's converter has not the operator, or writes one that is wrong of what is infinite."""
FIRST = {
    f"{case.op} written out" if case.body else case.op: case
    for case in reversed(cases()[0])
    if case.op in {*PLANNERS, *BODIES} and case.name not in LATER
}
BESIDE = [case for case in FIRST.values() if not case.body and case.op not in ALONE]


def test_all_of_the_standards_cases_are_counted() -> None:
    found, skipped = cases()
    assert len(found) >= LEAST and len(found) + len(skipped) > 1800
    assert not skipped.keys() & {case.name for case in found}
    known = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert set(skipped.values()) <= known


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_first_case_of_each_operator(case: Case) -> None:
    tensorflow()
    from tests.conformance.converters import result

    assert result(case, "nhwc")[1] is None


@pytest.mark.parametrize("case", BESIDE, ids=lambda case: case.op)
def test_the_file_computes_as_that_of_tensorflows_converter(case: Case) -> None:
    tensorflow()
    from tests.conformance.converters import EQUAL, NOT_TAKEN, beside_oracle

    beside = {name: beside_oracle(each) for name, each in case.ways()}
    assert EQUAL in beside.values() and set(beside.values()) <= {EQUAL, NOT_TAKEN}
