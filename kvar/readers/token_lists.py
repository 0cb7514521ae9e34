"""Columns with the log-probabilities of sampled tokens, a list a row, of which the norm of the score is kept."""

from __future__ import annotations

import numpy as np

from kvar.score_norms import score_norm_from_logprobs

__all__ = ["LOGPROBS", "norm_note", "norm_of"]

# Names of such columns, in lower case; the first that a log has is taken.
LOGPROBS = (
    *("logprobs", "log_probs", "old_log_probs", "rollout_log_probs", "generation_logprobs"),
    *("old_logprobs", "rollout_logprobs", "completion_logprobs", "sampling_logprobs", "token_logprobs"),
)


def norm_of(cell) -> float:
    """Proxy of the score norm from a list of log-probabilities, in which tokens may lack a number; NaN if all do."""
    try:
        logprobs = np.array(cell, dtype=np.float64)
        known = logprobs[~np.isnan(logprobs)]
        # Numbers above 0 are refused, since they are no log-probabilities.
        return float(score_norm_from_logprobs(known)) if logprobs.ndim == 1 and known.size else np.nan
    except (TypeError, ValueError, OverflowError):
        return np.nan


def norm_note(columns: list[str], n_unknown: int) -> str:
    """One sentence on the norms that were made."""
    unknown = f"; {n_unknown:,} rows without log-probabilities in their list have none" if n_unknown else ""
    return (
        f"Score norms are made of the log-probabilities in {' or '.join(columns)}, by sqrt(sum (1 - p)^2) over the "
        f"tokens{unknown}."
    )
