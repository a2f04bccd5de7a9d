"""Raw values become dataclasses, or are refused by name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.config.schema import build, require, unknown
from edgepress.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    share: float

    def __post_init__(self) -> None:
        require(0 <= self.share < 1, "share", self.share, "a number in [0, 1)")


@dataclass(frozen=True)
class Outer:
    count: int
    flag: bool
    kind: Literal["small", "large"]
    sizes: tuple[int, ...]
    inner: Inner
    limit: int | None = None
    text: str = "text"
    extra: Mapping[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {"count": 3, "flag": True, "kind": "small", "sizes": [1, 2], "inner": {"share": 0.5}}


INTEGERS = st.integers(-(2**53), 2**53)


def test_fills_every_field_and_keeps_defaults() -> None:
    assert build(Outer, GOOD, "s") == Outer(3, True, "small", (1, 2), Inner(0.5), None, "text", {})


def test_takes_optional_fields() -> None:
    built = build(Outer, {**GOOD, "limit": 7, "extra": {"a": [1]}}, "s")
    assert (built.limit, built.extra) == (7, {"a": [1]})


@given(INTEGERS, st.booleans(), st.lists(INTEGERS), st.floats(0, 1, exclude_max=True))
def test_what_is_built_holds_what_was_given(count: int, flag: bool, sizes: list[int], share: float) -> None:
    raw = {"count": count, "flag": flag, "kind": "large", "sizes": sizes, "inner": {"share": share}}
    assert asdict(build(Outer, raw, "s")) == {
        **raw,
        "sizes": tuple(sizes),
        "limit": None,
        "text": "text",
        "extra": {},
    }


def test_an_integer_is_a_number_but_stays_none_of_the_others() -> None:
    share = build(Inner, {"share": 0}, "s").share
    assert (share, type(share)) == (0.0, float)


REFUSED = [
    ({"count": "3"}, "s.count is '3', a str; expected an integer"),
    ({"count": 3.0}, "s.count is 3.0, a float; expected an integer"),
    ({"count": True}, "s.count is True, a bool; expected an integer"),
    ({"count": None}, "s.count is None, a NoneType; expected an integer"),
    ({"flag": 1}, "s.flag is 1, an int; expected true or false"),
    ({"flag": "yes"}, "s.flag is 'yes', a str; expected true or false"),
    ({"kind": "smal"}, "s.kind 'smal' is unknown; expected one of: large, small. Did you mean 'small'?"),
    ({"kind": ["small"]}, "s.kind ['small'] is unknown; expected one of: large, small."),
    ({"sizes": 3}, "s.sizes is 3, an int; expected a list"),
    ({"sizes": [1, "b"]}, "s.sizes[1] is 'b', a str; expected an integer"),
    ({"inner": 0.5}, "s.inner is 0.5; expected a section with keys"),
    ({"inner": {}}, "s.inner.share is missing; expected a number"),
    ({"inner": {"share": True}}, "s.inner.share is True, a bool; expected a number"),
    ({"inner": {"share": 1.0}}, "s.inner.share is 1.0; expected a number in [0, 1)"),
    ({"inner": {"share": float("nan")}}, "s.inner.share is nan; expected a finite number"),
    ({"inner": {"share": float("inf")}}, "s.inner.share is inf; expected a finite number"),
    ({"inner": {"share": 10**400}}, "s.inner.share is an integer of 1329 bits; expected a number of at most"),
    ({"count": 2**63}, "s.count is 9223372036854775808; expected a number of at most 16 digits"),
    ({"count": 10**5000}, "s.count is an integer of 16610 bits; expected a number of at most 16 digits"),
    ({"kind": True}, "s.kind True is unknown; expected one of: large, small."),
    ({"kind": "Smal"}, "s.kind 'Smal' is unknown; expected one of: large, small. Did you mean 'small'?"),
    ({"kind": "x" * 10**5}, f"s.kind '{'x' * 58} … {'x' * 37}' is unknown; expected one of: large, small."),
    ({"count": "a\nb\u2028"}, r"s.count is 'a\nb\u2028', a str; expected an integer"),
    ({"text": ""}, "s.text is ''; expected a text that is not empty"),
    ({"text": "photos\n"}, r"s.text is 'photos\n'; expected a text on one line, of printable characters"),
    (
        {"text": "a" * 5000},
        f"s.text is '{'a' * 58} … {'a' * 37}'; expected a text of at most 4096 characters",
    ),
    ({"limit": "x"}, "s.limit is 'x', a str; expected an integer"),
    ({"extra": 3}, "s.extra is 3, an int; expected a section with keys"),
    ({"count": "???"}, "s.count is not set; give it a value, e.g. dvc exp run -S 's.count=...'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refuses_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(Outer, {**GOOD, **change}, "s")
    assert str(error.value).startswith(message)


def test_refuses_an_unknown_key_and_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^key 's\.cuont' is unknown; .*Did you mean 's\.count'\?$"):
        build(Outer, {**GOOD, "cuont": 3}, "s")


def test_refuses_a_key_that_is_no_text() -> None:
    with pytest.raises(ConfigError, match=r"^key 's\.1' is unknown"):
        build(Outer, {**GOOD, 1: 3}, "s")


def test_refuses_what_is_no_section() -> None:
    with pytest.raises(ConfigError, match=r"^s is \[1\]; expected a section with keys$"):
        build(Outer, [1], "s")


def test_suggests_nothing_where_nothing_is_near() -> None:
    assert str(unknown("quant", "zzz", ["b", "a"])) == "quant 'zzz' is unknown; expected one of: a, b."


def test_what_may_be_none_and_is_not_set_is_none() -> None:
    assert build(Outer, {**GOOD, "limit": "???"}, "s").limit is None
