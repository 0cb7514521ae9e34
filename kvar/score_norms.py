"""Norms of scores from what every trainer has: the log-probabilities of the sampled tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from kvar.utils.array_types import Array, ArrayT
from kvar.utils.arrays import like, require_one_library, to_host
from kvar.utils.checks import require

__all__ = ["score_norm_from_logprobs"]

# Log-probabilities from logits in half precision may exceed 0 by a little.
_ROUNDING = 0.01


@overload
def score_norm_from_logprobs(logprobs: ArrayT, mask: ArrayLike | Array | None = None) -> ArrayT: ...


@overload
def score_norm_from_logprobs(logprobs: Sequence, mask: ArrayLike | Array | None = None) -> np.ndarray: ...


def score_norm_from_logprobs(logprobs, mask=None):
    """Proxy for the norm of each rollout's score, from the log-probabilities of its tokens.

    It is ``sqrt(sum_t mask_t (1 - p_t)^2)``, where p_t is the probability of the sampled token t.

    Parameters
    ----------
    logprobs : array_like, shape (..., T)
        Log-probabilities of the sampled tokens under the policy that the loss differentiates: at the temperature of
        the sampling, and over the whole vocabulary, since most losses leave top-p and top-k out.
    mask : array_like of bool or of 0 and 1, shape (..., T), optional
        Tokens that the policy wrote. Prompt, padding and the output of tools have 0, and what `logprobs` holds there is
        without effect. By default all tokens count.

    Returns
    -------
    array of the library, dtype and device of `logprobs`, shape (...,)
        Norms, float64 for lists and integers; 0 without tokens. NaN if a token that counts has NaN.

    Raises
    ------
    ValueError
        If a log-probability exceeds 0 by more than rounding, the mask has another shape or holds another number than 0
        and 1, or `logprobs` has no axis of tokens.
    TypeError
        If the arrays are of different libraries or hold no numbers.

    See Also
    --------
    make_baseline : "variance-optimal" and "score-weighted" take these norms as ``score_norm``.

    Notes
    -----
    The gradient of a log-softmax with respect to its logits has the entry 1 - p at the sampled token, and -p(v) at
    every other token v. So a token of which the policy is sure adds nothing to the score, and one that it found
    unlikely adds most. What the network below the logits does with it is left out. A common factor of all norms is
    without effect on the baselines that take them.

    Rollouts whose probabilities are recorded cost one pass over their tokens and no pass of the model.

    Examples
    --------
    >>> import numpy as np, kvar
    >>> logprobs = np.log([[0.5, 0.9, 1.0], [0.2, 0.4, 0.3]])
    >>> kvar.score_norm_from_logprobs(logprobs, mask=[[1, 1, 1], [1, 1, 0]])
    array([0.50990195, 1.        ])
    """
    require_one_library(logprobs=logprobs, mask=mask)
    entries = to_host(logprobs, "logprobs")
    require(entries.ndim > 0, "logprobs must have an axis of tokens, got a single number")
    counted = np.ones(entries.shape, dtype=bool) if mask is None else _counted(mask, entries.shape)
    entries = np.where(counted, entries, 0.0)
    if (wrong := entries > _ROUNDING).any():
        raise ValueError(
            f"logprobs holds {entries[wrong][0]:g}, but a log-probability is at most 0: pass logarithms of "
            "probabilities, and a mask that is 0 at padding"
        )
    return like(np.sqrt(np.square(np.expm1(entries)).sum(axis=-1)), logprobs)


def _counted(mask, shape: tuple[int, ...]) -> np.ndarray:
    mask = to_host(mask, "mask")
    require(mask.shape == shape, f"mask has the shape {mask.shape}, but logprobs have {shape}: pass one entry a token")
    if (wrong := ~np.isin(mask, (0, 1))).any():
        raise ValueError(f"mask holds {mask[wrong][0]:g}: pass 1 for tokens that count and 0 for others")
    return mask == 1
