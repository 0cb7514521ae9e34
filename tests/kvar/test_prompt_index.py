"""The index of prompts against a dictionary."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kvar.history.prompt_index
from kvar.history.prompt_index import PromptIndex

IDS = st.one_of(st.integers(-5, 40), st.integers(-(2**70), 2**70), st.text(max_size=3), st.sampled_from(["1", "-1"]))


@pytest.mark.parametrize("n_cells", [0, 20, 2**16])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(IDS, max_size=12, unique_by=lambda i: (type(i), i)), st.booleans()), max_size=25))
def test_it_is_a_dictionary(n_cells, monkeypatch, batches):
    monkeypatch.setattr(kvar.history.prompt_index, "_CELLS", n_cells)
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
    index, far = PromptIndex(), 10**12
    for start in range(0, 100, 5):
        places = np.arange(start, start + 5)[::-1]
        index.add((far + places).tolist(), places + 1000)
    assert len(index._keys) > 80
    np.testing.assert_array_equal(index.find([far + 99, far, far + 100, -1, far + 50]), [1099, 1000, -1, -1, 1050])


def test_integers_that_lie_close_together_have_cells(monkeypatch):
    monkeypatch.setattr(kvar.history.prompt_index, "_CELLS", 0)
    monkeypatch.setattr(kvar.history.prompt_index, "_WAITING", 10)
    index, order = PromptIndex(), np.random.default_rng(0).permutation(1000)
    for places in order.reshape(200, 5):
        index.add(places, places)
    assert len(index._cells) < 4100
    assert len(index._keys) + len(index._waiting) < 300
    np.testing.assert_array_equal(index.find(order), order)
    assert index.find([2**63 - 1, -(2**63), -1, 1000]).tolist() == [-1] * 4
