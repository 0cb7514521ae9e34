"""Score norms of a step whose log-probabilities a trainer has, but does not pass to its advantage estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch

from kvar import score_norm_from_logprobs
from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["norms_at_hand", "norms_for"]

_Find = Callable[[], tuple[torch.Tensor | None, torch.Tensor]]
_find: ContextVar[_Find | None] = ContextVar("find", default=None)


@contextmanager
def norms_at_hand(find: _Find) -> Iterator[None]:
    """Within this block `norms_for` gives norms from the log-probabilities and the mask that `find` returns."""
    token = _find.set(find)
    try:
        yield
    finally:
        _find.reset(token)


def norms_for(history: PromptHistory, n_rows: int, remedy: str) -> np.ndarray | None:
    """Norms of the n rollouts that an estimator is called with, or None if its baseline needs none."""
    if not history.needs_norms:
        return None
    find = _find.get()
    logprobs, mask = (None, None) if find is None else find()
    if logprobs is None or len(logprobs) != n_rows:
        raise ValueError(
            f"baseline {history.baseline.name!r} needs log-probabilities of the {n_rows} rollouts, got "
            f"{'none' if logprobs is None else len(logprobs)}: {remedy}"
        )
    return score_norm_from_logprobs(logprobs, mask > 0).double().cpu().numpy()
