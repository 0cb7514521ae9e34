"""Norms from log-probabilities: the formula, what is left out of it, and what is refused."""

import math

import numpy as np
import pytest
import torch

import kvar
from kvar import score_norm_from_logprobs


def norm_by_hand(logprobs, mask):
    total = 0.0
    for logprob, counts in zip(logprobs, mask, strict=True):
        if counts:
            total += (1 - math.exp(logprob)) ** 2
    return math.sqrt(total)


def test_the_formula(rng):
    logprobs, mask = -rng.exponential(size=(3, 4, 7)), rng.integers(0, 2, size=(3, 4, 7))
    found = score_norm_from_logprobs(logprobs, mask)
    wanted = [[norm_by_hand(*row) for row in zip(*rows, strict=True)] for rows in zip(logprobs, mask, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_array_equal(score_norm_from_logprobs(logprobs.tolist(), mask.astype(bool).tolist()), found)
    np.testing.assert_array_equal(score_norm_from_logprobs(logprobs), score_norm_from_logprobs(logprobs, mask**0))


def test_a_sure_token_keeps_its_digits():
    np.testing.assert_allclose(score_norm_from_logprobs([-1e-20]), 1e-20)
    assert score_norm_from_logprobs([-math.inf, 0.0]) == 1.0
    assert score_norm_from_logprobs(np.zeros((2, 0))).tolist() == [0.0, 0.0]


def test_what_the_policy_did_not_write_is_without_effect():
    logprobs, mask = np.log([[0.5, 0.25], [0.5, 0.5]]), [[1, 0], [1, 1]]
    wanted = [0.5, math.sqrt(0.5)]
    for filler in (1.0, math.nan, -math.inf, 1e30):
        logprobs[0, 1] = filler
        np.testing.assert_allclose(score_norm_from_logprobs(logprobs, mask), wanted)
    unknown = score_norm_from_logprobs(np.where([[True, False]] * 2, math.nan, logprobs), mask)
    np.testing.assert_array_equal(unknown, [math.nan, math.nan])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_stay_tensors(dtype):
    logprobs = torch.tensor([[0.5, 0.25], [0.9, 0.1]], dtype=torch.float64).log().to(dtype).requires_grad_()
    found = score_norm_from_logprobs(logprobs, torch.tensor([[True, True], [True, False]]))
    assert (found.dtype, found.device, found.requires_grad) == (dtype, logprobs.device, False)
    np.testing.assert_allclose(found.tolist(), [math.sqrt(0.25 + 0.5625), 0.1], rtol=2 * torch.finfo(dtype).eps)
    assert score_norm_from_logprobs(np.float32([[-1.0]])).dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.5, -0.1],), ValueError, "logprobs holds 0.5"),
        (([-0.5, math.inf],), ValueError, "logprobs holds inf"),
        (([-0.5], [[1]]), ValueError, r"mask has the shape \(1, 1\), but logprobs have \(1,\)"),
        (([-0.5], [0.5]), ValueError, "mask holds 0.5"),
        (([-0.5], [math.nan]), ValueError, "mask holds nan"),
        ((-0.5,), ValueError, "got a single number"),
        (([[-0.5], [-0.5, -0.5]],), TypeError, "logprobs must hold real numbers"),
        ((["-0.5"],), TypeError, "logprobs must hold real numbers"),
        ((torch.tensor([-0.5]), np.ones(1)), TypeError, "logprobs from torch, mask from numpy"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        score_norm_from_logprobs(*arguments)


def test_rounding_is_no_error():
    assert score_norm_from_logprobs([1e-6, 0.0]) < 2e-6


def test_a_baseline_takes_them():
    norms = score_norm_from_logprobs(np.log([[[0.5, 0.9]], [[0.9, 0.9]]]))
    found = kvar.make_baseline("variance-optimal").advantages(["a", "b"], [[1.0], [0.0]], 0, score_norm=norms)
    assert found.shape == (2, 1)
