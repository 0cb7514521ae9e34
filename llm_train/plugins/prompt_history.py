"""A baseline that counts its own steps and keeps its history on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from kvar import make_baseline
from llm_train.plugins.rollout_parts import RolloutParts
from llm_train.trainer.state_file import load_state, save_state

__all__ = ["PromptHistory"]

_NORM = "score_norm"

logger = logging.getLogger(__name__)


class PromptHistory:
    """Advantages of one training step after another.

    Parameters
    ----------
    baseline : str
        A name from `kvar.baseline_names`.
    state_path : path, optional
        File of the history, best in the folder of the run's checkpoints; absolute, because trainers change folders. A
        run that finds the file continues with its history and logs a warning. One process reads the file at the first
        step and replaces it after every step. By default the history is lost when the process ends.
    **parameters
        Parameters of the baseline.

    Attributes
    ----------
    baseline : kvar.Baseline
        The baseline with its history.
    step : int
        Number of steps so far.

    Raises
    ------
    ValueError
        If the baseline needs more than rewards and score norms, or `state_path` is relative.

    Notes
    -----
    After a crash the file can be some steps ahead of the trainer's checkpoint. The history then holds those steps
    twice, with rewards of nearly the same policy.
    """

    def __init__(self, baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters):
        self.baseline = make_baseline(baseline, **parameters)
        if missing := [name for name in self.baseline.needs if name != _NORM]:
            raise ValueError(
                f"baseline {baseline!r} needs {', '.join(missing)}, which this trainer does not pass on: use adaptive "
                "or kernel"
            )
        self.step = 0
        self._begun = False
        self._path = Path(state_path) if state_path is not None else None
        if self._path is not None and not self._path.is_absolute():
            raise ValueError(f"state_path must be absolute, because trainers change folders, got {state_path!r}")

    @property
    def needs_norms(self) -> bool:
        """Whether the baseline needs the norm of each rollout's score."""
        return _NORM in self.baseline.needs

    def advantages(
        self,
        prompt_ids: Sequence[int | str],
        rewards,
        score_norm=None,
        rollout_ids: Sequence[Hashable] | None = None,
        step: int | None = None,
    ) -> np.ndarray:
        """Advantages of one step, whose rewards are then remembered.

        Parameters
        ----------
        prompt_ids : sequence of int or str, length n
            Prompt of each rollout, in any order. A prompt has the same id at every step.
        rewards : array_like, shape (n,)
            Reward of each rollout; NaN or None if it could not be scored.
        score_norm : array_like, shape (n,), optional
            Norm of each rollout's score, as from `kvar.score_norm_from_logprobs`, for a baseline that needs it.
        rollout_ids : sequence of hashable, length n, optional
            If a trainer splits rollouts into rows, the rollout of each row. A rollout counts once: with the prompt of
            its first row, the mean of its rows' rewards and the norm of all its tokens. By default each row is one.
        step : int, optional
            The trainer's own clock, such as the version of its policy, if one step comes in several calls. It does not
            go back: a smaller number counts as the last. The file is then written once a step. By default calls count.

        Returns
        -------
        ndarray of float64, shape (n,)
            Reward minus value, of each row; 0 for one that could not be scored.

        Raises
        ------
        ValueError
            At the first step, if the file is damaged or belongs to another baseline. At any step, if the baseline needs
            norms and there are none.
        """
        if not self._begun and self._path is not None and self._path.exists():
            state = load_state(self._path)
            self.baseline.load_state_dict(state["baseline"])
            self.step = state["step"]
            logger.warning("Continuing with the history in %s, which ends at step %d.", self._path, self.step)
        new = not self._begun or step is None or step > self.step
        self._begun = True
        self.step = self.step + 1 if step is None else max(self.step, step)
        rewards = np.array([np.nan if reward is None else reward for reward in rewards], dtype=np.float64)
        rollout_ids = range(len(rewards)) if rollout_ids is None else rollout_ids
        for name, ids in (("prompt", prompt_ids), ("rollout", rollout_ids)):
            if len(ids) != len(rewards):
                raise ValueError(f"got {len(ids)} {name} ids for {len(rewards)} rewards: pass one for each row")
        parts = RolloutParts(rollout_ids, rewards)
        columns = {} if score_norm is None else {_NORM: parts.norms(np.asarray(score_norm, dtype=np.float64))}
        keys = [prompt_ids[row] for row in parts.first_rows]
        advantages = parts.in_rows(self.baseline.advantages(keys, parts.rewards, self.step, **columns))
        if new and self._path is not None:
            save_state({"step": self.step, "baseline": self.baseline.state_dict()}, self._path)
        return advantages
