"""What comes from outside is printed escaped, on one line and shortened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.errors import EdgepressError
from edgepress.text import MESSAGE, listed, one_line, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain Größe 犬", "plain Größe 犬"),
        ("red\x1b[31m\x07", r"red\x1b[31m\x07"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u202egnp.exe", r"\u202egnp.exe"),  # written from right to left
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\udcff", r"\udcff"),  # of a file whose name is not UTF-8
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\U000e0041", r"\U000e0041"),  # an invisible tag
    ],
)
def test_what_is_not_printable_is_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_what_is_too_long_loses_its_middle() -> None:
    text = shown("begin" + "x" * 100_000 + "end")
    assert len(text) == 200
    assert text.startswith("beginx")
    assert text.endswith("xend")
    assert shown("y" * 200) == "y" * 200


@given(st.text(st.characters(), max_size=300), st.integers(10, 250))
def test_shown_is_short_printable_and_shown_again_the_same(text: str, length: int) -> None:
    result = shown(text, length)
    assert result.isprintable()
    assert len(result) <= length
    assert shown(result, length) == result


def test_prose_stays_readable() -> None:
    assert one_line("an exception\n  of\tseveral lines\x1b\n") == r"an exception of several lines\x1b"


def test_lists_name_some_and_count_the_rest() -> None:
    assert listed(["a", "b\n", "c", "d"], 2) == r"a, b\n and 2 more"


def test_a_message_is_one_line_that_keeps_its_remedy() -> None:
    message = str(EdgepressError(f"the name is {'z' * 100_000}\nand \x1b[2J; rename it"))
    assert len(message) == MESSAGE
    assert message.isprintable()
    assert message.startswith("the name is zzz")
    assert message.endswith(r"zz and \x1b[2J; rename it")
