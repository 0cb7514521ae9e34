"""Tables in Markdown, character by character."""

import pytest

from kvar.utils.markdown import markdown_table


def test_a_table():
    rows = [["`kernel`", 0.5], ("a|b\nc", None)]
    assert markdown_table(["baseline", "value"], iter(rows)) == (
        "| baseline | value |\n|---|---|\n| `kernel` | 0.5 |\n| a\\|b c | None |"
    )
    assert markdown_table(["one"], []) == "| one |\n|---|"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"needs 2 cells.* got 1"):
        markdown_table(["a", "b"], [["only"]])
