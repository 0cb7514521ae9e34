"""A baseline that counts its own steps and keeps itself on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kvar import make_baseline
from llm_train.trainer.state_file import load_state, save_state

__all__ = ["PromptHistory"]

logger = logging.getLogger(__name__)


class PromptHistory:
    """Advantages of flat batches, one call a step.

    Parameters
    ----------
    baseline : str
        A name out of `kvar.baseline_names`.
    state_path : path, optional
        File that holds the history, in the folder of this run's checkpoints: a run that finds one goes on with it, and
        says so. Absolute, since trainers work in folders of their own. It is read at the first call, by the process
        that writes it after every call, and appears whole. After a crash it may be some steps ahead of the trainer's
        checkpoint; these steps are then seen twice, which adds rewards of nearly the same policy.
    **parameters
        Of the baseline.

    Attributes
    ----------
    baseline : kvar.Baseline
        With its history.
    step : int
        Calls so far.

    Raises
    ------
    ValueError
        If the baseline needs more than rewards, the path is relative, or (at the first call) the file belongs to
        another baseline.
    """

    def __init__(self, baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters):
        self.baseline = make_baseline(baseline, **parameters)
        if self.baseline.needs:
            raise ValueError(
                f"baseline {baseline!r} needs {', '.join(self.baseline.needs)}, which this trainer does not pass on; "
                "use adaptive or kernel"
            )
        self.step = 0
        self._path = Path(state_path) if state_path is not None else None
        if self._path is not None and not self._path.is_absolute():
            raise ValueError(
                f"state_path must be absolute, since trainers work in folders of their own, got {state_path!r}"
            )

    def advantages(self, prompt_ids: Sequence[int | str], rewards) -> np.ndarray:
        """Advantages of one step, which is then remembered."""
        if self.step == 0 and self._path is not None and self._path.exists():
            state = load_state(self._path)
            self.baseline.load_state_dict(state["baseline"])
            self.step = state["step"]
            logger.warning("Going on with the history in %s, which ends at step %d.", self._path, self.step)
        self.step += 1
        rewards = np.array([np.nan if reward is None else reward for reward in rewards], dtype=np.float64)
        advantages = self.baseline.advantages(list(prompt_ids), rewards, self.step)
        if self._path is not None:
            save_state({"step": self.step, "baseline": self.baseline.state_dict()}, self._path)
        return advantages
