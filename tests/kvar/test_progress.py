"""A progress bar hands its items on, shown or not."""

from kvar.utils.progress import progress_bar, tracked


def test_a_bar_changes_nothing():
    assert list(tracked(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    for shown in (True, False):
        with progress_bar(shown, "one thing", total=5, completed=2) as (advance, describe):
            advance(2)
            describe("another")
