"""Which inputs count as numbers, and in which library results are returned."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

import kvar
from kvar.utils import arrays


def test_masked_rewards_are_missing():
    masked = np.ma.array([[1, 0], [1, 1]], mask=[[False, True], [False, False]])
    np.testing.assert_array_equal(arrays.to_host(masked), [[1.0, np.nan], [1.0, 1.0]])
    advantages = kvar.make_baseline("none").advantages(["a", "b"], masked, 0)
    np.testing.assert_array_equal(advantages, [[1.0, 0.0], [1.0, 1.0]])


def test_a_column_of_a_table_is_at_home():
    table = pd.DataFrame({"prompt": ["a", "b"], "reward": [1.0, None]})
    advantages = kvar.make_baseline("none").advantages(table["prompt"], table["reward"], 0)
    np.testing.assert_array_equal(advantages, [1.0, 0.0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["1", "0"], "got str"),
        (["1", None], "got str"),
        ([b"1", None], "got bytes"),
        (np.array([1j, 0]), "got complex128"),
        ([1j, None], "got complex"),
        (torch.tensor([1j, 0]), "got complex64"),
        (np.array(["2020-01-01"] * 2, dtype="M8[D]"), "got datetime64"),
        ([{}, {}], "must be a string or a real number, not 'dict'"),
        ([[1.0], [1.0, 2.0]], "inhomogeneous shape"),
        ([10**400, 1], "too large"),
    ],
)
def test_what_is_no_number_is_refused(wrong, message):
    with pytest.raises(TypeError, match=f"rewards must hold real numbers in a rectangular shape: .*{message}"):
        kvar.make_baseline("none").update(["a", "b"], wrong, 0)


@pytest.mark.parametrize("dtype", [np.float16, torch.float16])
def test_what_does_not_fit_is_refused_and_not_remembered(dtype):
    rewards = [60_000.0, -60_000.0]
    rewards = torch.tensor(rewards, dtype=dtype) if dtype is torch.float16 else np.array(rewards, dtype=dtype)
    baseline = kvar.make_baseline("kernel")
    before = baseline.state_dict()
    with pytest.raises(ValueError, match=r"120000 is beyond the largest number of .*float16"):
        baseline.advantages(["a", "a"], rewards, 0)
    np.testing.assert_equal(baseline.state_dict(), before)


def test_tensors_need_the_layer_between_libraries(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    with pytest.raises(ImportError, match="torch arrays need array-api-compat: pip install array-api-compat"):
        arrays.to_host(torch.zeros(2))


def test_an_object_that_is_no_array_is_refused():
    class Pretender:
        def __dlpack__(self):
            raise AssertionError

    with pytest.raises(TypeError, match="expected an array, a tensor or a list of numbers, got Pretender"):
        arrays.to_host(Pretender())


@pytest.mark.parametrize("kind", ["sparse", "sparse_csr", "meta", "conjugate", "nested", "quantized"])
@pytest.mark.parametrize("place", ["ids", "rewards", "column"])
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_without_plain_numbers_is_refused_by_its_kind(kind, place):
    plain = torch.ones(2, 2)
    tensor = {
        "sparse": plain.to_sparse,
        "sparse_csr": plain.to_sparse_csr,
        "meta": lambda: plain.to("meta"),
        "conjugate": lambda: (plain * 1j).conj(),
        "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(1)]),
        "quantized": lambda: torch.quantize_per_tensor(plain, 0.1, 0, torch.quint8),
    }[kind]()
    given = {"ids": [0, 1], "rewards": plain, "column": plain} | {place: tensor}
    baseline = kvar.make_baseline("score-weighted")
    before = baseline.state_dict()
    with pytest.raises(TypeError, match=f"dense tensor of real numbers, got a {kind.partition('_')[0]} one"):
        baseline.advantages(given["ids"], given["rewards"], 1, score_norm=given["column"])
    np.testing.assert_equal(baseline.state_dict(), before)


def test_a_tensor_that_negates_when_it_is_read_is_resolved():
    rewards = torch.tensor([[1 + 2j, 3 + 4j], [0j, 1j]]).conj().imag
    assert rewards.is_neg()
    baseline = kvar.make_baseline("none")
    assert baseline.advantages([0, 1], rewards, 1).tolist() == [[-2.0, -4.0], [0.0, -1.0]]
