"""Rollouts of one step with one row a prompt, the input of every baseline.

A group is all rollouts of one prompt at one step. Rows of the same prompt are merged, and missing rollouts are NaN. A
flat list of rollouts, a (B, G) block, uneven groups and repeated prompts are therefore one case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.rollouts.prompt_ids import as_keys
from kvar.utils import arrays
from kvar.utils.checks import LARGEST

__all__ = ["Batch", "occurrence", "sums_of_others"]


def sums_of_others(values: np.ndarray) -> np.ndarray:
    """Leave-one-out sums along the last axis, in the shape of `values`; no value may be NaN.

    Each is the sum of the entries before and of those after. Subtraction from the total would let one large entry
    cancel the digits of the others.
    """
    before = np.zeros_like(values)
    after = np.zeros_like(values)
    np.cumsum(values[..., :-1], axis=-1, out=before[..., 1:])
    np.cumsum(values[..., :0:-1], axis=-1, out=after[..., -2::-1])
    return before + after


def occurrence(codes: np.ndarray) -> np.ndarray:
    """Number of earlier entries that equal each entry, shape (n,); cost of one sort."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    counts = np.empty(len(codes), dtype=np.int64)
    counts[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    return counts


def _as_ids(prompt_ids) -> list[int | str]:
    """Prompt ids as a list; TypeError if one is neither an integer nor a string."""
    ids = arrays.to_list(prompt_ids)
    if not isinstance(ids, list):
        raise TypeError(f"prompt ids must be a list or an array with one id a row, got {prompt_ids!r:.80}")
    # Checking the set of types is a hundred times faster than checking every id.
    if not set(map(type, ids)) <= {int, str}:
        ids = [int(i) if isinstance(i, np.integer) else str(i) if isinstance(i, np.str_) else i for i in ids]
        for i in ids:
            if type(i) not in (int, str):
                raise TypeError(f"prompt ids must be integers or strings, got {i!r:.80} of type {type(i).__name__}")
    return ids


def _as_step(step) -> float:
    """The step as a float; ValueError if it is no finite number."""
    try:
        value = math.nan if isinstance(step, (str, bytes, bool, np.bool_)) else float(step)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not abs(value) <= LARGEST:
        raise ValueError(f"step must be a finite number from {-LARGEST:g} to {LARGEST:g}, got {step!r:.80}")
    return value


@dataclass
class Batch:
    """The rollouts of one step.

    Attributes
    ----------
    prompt_ids : list of int or str, length P
        Distinct prompts.
    rewards : ndarray of float64, shape (P, N)
        Rewards, one group a row; NaN where there is no rollout or no score.
    step : float
        Time of the batch.
    columns : dict of str to ndarray, each of shape (P, N)
        Further numbers for each rollout, in the layout of the rewards.
    """

    prompt_ids: list[int | str]
    rewards: np.ndarray
    step: float
    columns: dict[str, np.ndarray]
    _row: np.ndarray
    _block: np.ndarray
    _shape: tuple[int, ...]

    @classmethod
    def from_rows(cls, prompt_ids, rewards, step, columns: Mapping[str, object] | None = None) -> Batch:
        """Arrange rows of rollouts by prompt.

        Parameters
        ----------
        prompt_ids : array_like of int or str, shape (B,)
            The prompt of each row; prompts may repeat.
        rewards : array_like, shape (B, G) or (B,)
            Rewards; NaN marks a completion that could not be scored. A one-dimensional array has one rollout a row.
        step : int or float
            Time of the batch.
        columns : mapping of str to array_like, optional
            Further numbers, each of the shape of `rewards`, or (B,) if all rollouts of a row share them.

        Returns
        -------
        Batch
            One row for each distinct prompt, in order of first appearance. Cost O(B G).

        Raises
        ------
        ValueError
            If shapes disagree, a reward is infinite or beyond 1e100, or the step is not a finite number within that.
        TypeError
            If a prompt id is neither an integer nor a string, or arrays of several libraries are mixed.
        """
        arrays.require_one_library(prompt_ids=prompt_ids, rewards=rewards, **(columns or {}))
        ids = _as_ids(prompt_ids)
        # A copy: the batch must not change if the caller writes into the array later.
        block = np.array(arrays.to_host(rewards, "rewards"))
        shape = block.shape
        if block.ndim not in (1, 2) or shape[0] != len(ids):
            raise ValueError(f"rewards must have shape ({len(ids)}, G) for {len(ids)} prompt ids, got {shape}")
        step = _as_step(step)
        extreme = np.abs(block) > LARGEST
        if extreme.any():
            place = tuple(np.argwhere(extreme)[0])
            what = "an infinite reward" if np.isinf(block[place]) else f"the reward {block[place]:g}"
            raise ValueError(
                f"prompt {ids[place[0]]!r:.80} has {what} at step {step:g}; rewards must be from {-LARGEST:g} to "
                f"{LARGEST:g}, or NaN for a completion without a score"
            )

        distinct = list(dict.fromkeys(ids))
        if len(distinct) == len(ids):
            row, block_of = np.arange(len(ids)), np.zeros(len(ids), dtype=np.intp)
        else:
            number = {prompt_id: k for k, prompt_id in enumerate(distinct)}
            row = np.array([number[prompt_id] for prompt_id in ids])
            block_of = occurrence(row)
        batch = cls(distinct, block, step, {}, row, block_of, shape)
        batch.rewards = batch._by_prompt(block)
        for name, column in (columns or {}).items():
            column = np.array(arrays.to_host(column, name))
            if column.shape not in (shape, shape[:1]):
                raise ValueError(f"column {name!r} must have shape {shape} or {shape[:1]}, got {column.shape}")
            if column.shape != shape:
                column = np.broadcast_to(column[:, None], shape)
            batch.columns[name] = batch._by_prompt(column)
        return batch

    def _by_prompt(self, block: np.ndarray) -> np.ndarray:
        """Rows of shape (B, G) or (B,) in the layout (P, N), NaN where a prompt has fewer rows than another."""
        width = block.shape[1] if block.ndim == 2 else 1
        block = block.reshape(len(block), width)
        n_prompts = len(self.prompt_ids)
        if n_prompts == len(block):
            return block
        n_blocks = int(self._block.max()) + 1
        merged = np.full((n_prompts, n_blocks, width), np.nan)
        merged[self._row, self._block] = block
        return merged.reshape(n_prompts, n_blocks * width)

    def to_rows(self, values: np.ndarray) -> np.ndarray:
        """Arrange numbers by prompt as the rows that the batch was made from.

        Parameters
        ----------
        values : ndarray, shape (P, N)
            One number a rollout, in the layout of `rewards`.

        Returns
        -------
        ndarray
            The same numbers in the shape that `from_rows` was given.
        """
        if len(self.prompt_ids) == len(self._row):
            return values.reshape(self._shape)
        width = self._shape[1] if len(self._shape) == 2 else 1
        blocks = values.reshape(len(self.prompt_ids), int(self._block.max()) + 1, width)
        return blocks[self._row, self._block].reshape(self._shape)

    @cached_property
    def keys(self) -> np.ndarray:
        """The prompts as keys of a history, see `kvar.rollouts.prompt_ids.as_keys`; shape (P,)."""
        return as_keys(self.prompt_ids)

    @cached_property
    def scored(self) -> np.ndarray:
        """Mask of the rollouts that have a reward, shape (P, N)."""
        return ~np.isnan(self.rewards)

    @cached_property
    def filled(self) -> np.ndarray:
        """The rewards with 0 in place of NaN, shape (P, N)."""
        return np.where(self.scored, self.rewards, 0.0)

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of rewards of each group, shape (P, 1)."""
        return self.scored.sum(axis=1, keepdims=True)
