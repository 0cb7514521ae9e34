"""The index of prompts against a dictionary."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import kvar.history.prompt_index
from kvar.history.prompt_index import PromptIndex

IDS = st.one_of(st.integers(-5, 40), st.integers(-(2**70), 2**70), st.text(max_size=3), st.sampled_from(["1", "-1"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(IDS, max_size=12, unique_by=lambda i: (type(i), i)), st.booleans()), max_size=25))
def test_it_is_a_dictionary(batches):
    index, reference, n_places = PromptIndex(), {}, 0
    for ids, forget in batches:
        np.testing.assert_array_equal(index.find(ids), [reference.get(i, -1) for i in ids])
        new = [i for i in ids if i not in reference]
        places = np.arange(n_places, n_places + len(new))
        index.add(new, places)
        reference |= dict(zip(new, places.tolist(), strict=True))
        n_places += len(new)
        if forget:
            gone = np.arange(n_places) % 3 == 0
            index.remove(gone)
            reference = {i: place for i, place in reference.items() if not gone[place]}
        assert len(index) == len(reference)
        known, where = index.items()
        assert dict(zip(known, where.tolist(), strict=True)) == reference
        assert (np.diff(where) > 0).all()


def test_integers_move_into_the_sorted_array(monkeypatch):
    monkeypatch.setattr(kvar.history.prompt_index, "_WAITING", 4)
    index = PromptIndex()
    for start in range(0, 100, 5):
        ids = list(range(start, start + 5))[::-1]
        index.add(ids, np.array(ids) + 1000)
    assert len(index._keys) > 80
    np.testing.assert_array_equal(index.find([99, 0, 100, -1, 50]), [1099, 1000, -1, -1, 1050])
