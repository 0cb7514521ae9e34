"""Rollouts of one step ordered by prompt, the input of every baseline.

A group is all rollouts of one prompt at one step. Groups stand one after the other in one array, so that a flat list of
rollouts, a (B, G) block, uneven groups and repeated prompts are one case, and no group takes the room of a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from kvar.rollouts.prompt_ids import as_keys
from kvar.utils import arrays
from kvar.utils.array_types import Column, Ids
from kvar.utils.checks import LARGEST

__all__ = ["Batch", "occurrence", "sums_of_others"]

# What a batch keeps of single groups, one number a group or a rollout.
_OF_GROUPS = ("counts", "totals", "means", "variances")
_OF_ROLLOUTS = ("scored", "filled", "totals_of_others", "n_others")


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

    R rollouts of P distinct prompts are in one array, those of a prompt next to each other. The methods work by group
    and take arrays of one number a rollout, shape (R,), or one a prompt, shape (P,).

    Attributes
    ----------
    prompt_ids : list of int or str, length P
        Distinct prompts.
    rewards : ndarray of float64, shape (R,)
        Rewards, one group after the other; NaN where there is no score.
    step : float
        Time of the batch.
    columns : dict of str to ndarray, each of shape (R,)
        Further numbers for each rollout, in the order of the rewards.
    sizes : ndarray of int, shape (P,)
        Number of rollouts of each prompt, scored or not.

    Examples
    --------
    >>> batch = Batch.from_rows(["a", "b", "a"], [1.0, 0.0, 0.5], step=1)
    >>> batch.rewards
    array([1. , 0.5, 0. ])
    >>> batch.sums(batch.rewards)
    array([1.5, 0. ])
    >>> batch.to_rows(batch.spread(batch.sums(batch.rewards)))
    array([1.5, 0. , 1.5])
    """

    prompt_ids: list[int | str]
    rewards: np.ndarray
    step: float
    columns: dict[str, np.ndarray]
    sizes: np.ndarray
    _shape: tuple[int, ...]
    _order: np.ndarray | None  # Rows in the order of the rollouts; None if it is theirs

    @classmethod
    def from_rows(
        cls, prompt_ids: Ids, rewards: Column, step: float, columns: Mapping[str, object] | None = None
    ) -> Batch:
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
            Prompts in order of first appearance. Time and memory O(B G), whatever the sizes of the groups.

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

        distinct, order = list(dict.fromkeys(ids)), None
        rows_each = np.ones(len(distinct), dtype=np.int64)
        if len(distinct) < len(ids):
            number = {prompt_id: k for k, prompt_id in enumerate(distinct)}
            row = np.array([number[prompt_id] for prompt_id in ids])
            order, rows_each = np.argsort(row, kind="stable"), np.bincount(row)
        sizes = rows_each * (shape[1] if block.ndim == 2 else 1)
        batch = cls(distinct, block, step, {}, sizes, shape, order)
        batch.rewards = batch._from_rows(block)
        for name, column in (columns or {}).items():
            column = np.array(arrays.to_host(column, name))
            if column.shape not in (shape, shape[:1]):
                raise ValueError(f"column {name!r} must have shape {shape} or {shape[:1]}, got {column.shape}")
            if column.shape != shape:
                column = np.broadcast_to(column[:, None], shape)
            batch.columns[name] = batch._from_rows(column)
        return batch

    @classmethod
    def of_groups(cls, rewards: np.ndarray, sizes: np.ndarray, columns: dict[str, np.ndarray]) -> Batch:
        """Take over groups of checked rewards as they stand, as if each were of a prompt of its own.

        Parameters
        ----------
        rewards : ndarray of float64, shape (R,)
            Rewards, one group after the other.
        sizes : ndarray of int, shape (P,)
            Number of rollouts of each group.
        columns : dict of str to ndarray, each of shape (R,)
            Further numbers.

        Returns
        -------
        Batch
            At step 0; `parts` gives groups their prompts and steps.
        """
        return cls(list(range(len(sizes))), rewards, 0.0, columns, sizes, rewards.shape, None)

    def parts(self, cuts: list[int], keys: np.ndarray, steps: list[float]) -> list[tuple[slice, Batch]]:
        """Cut between groups. What depends on single groups is computed for all at once, and not again for each part.

        Parameters
        ----------
        cuts : list of int, length K + 1
            Number of the first group of each part, and P.
        keys : ndarray of int, shape (P,)
            Prompt of each group; different ones within a part.
        steps : list of float, length K
            Step of each part.

        Returns
        -------
        list of (slice, Batch)
            The place of its rollouts among all, and each part.
        """
        ids, ends = keys.tolist(), np.concatenate([[0], np.cumsum(self.sizes)])[cuts].tolist()
        common = {} if self._common_size is None else {"_common_size": self._common_size}
        parts = []
        for (first, last), (start, stop), step in zip(pairwise(cuts), pairwise(ends), steps, strict=True):
            groups, rollouts = slice(first, last), slice(start, stop)
            columns = {name: column[rollouts] for name, column in self.columns.items()}
            part = Batch(ids[groups], self.rewards[rollouts], step, columns, self.sizes[groups], (stop - start,), None)
            part.__dict__.update({name: getattr(self, name)[groups] for name in _OF_GROUPS}, **common)
            part.__dict__.update({name: getattr(self, name)[rollouts] for name in _OF_ROLLOUTS}, keys=keys[groups])
            parts.append((rollouts, part))
        return parts

    def _from_rows(self, block: np.ndarray) -> np.ndarray:
        """Rows of shape (B, G) or (B,) as one number a rollout."""
        return (block if self._order is None else block[self._order]).ravel()

    def to_rows(self, values: np.ndarray) -> np.ndarray:
        """Arrange one number a rollout as the rows that the batch was made from.

        Parameters
        ----------
        values : ndarray, shape (R,)
            One number a rollout, in the order of `rewards`.

        Returns
        -------
        ndarray
            The same numbers in the shape that `from_rows` was given.
        """
        blocks = values.reshape(self._shape)
        if self._order is None:
            return blocks
        rows = np.empty_like(blocks)
        rows[self._order] = blocks
        return rows

    def spread(self, numbers: np.ndarray) -> np.ndarray:
        """Give each rollout the entry of its prompt.

        Parameters
        ----------
        numbers : ndarray, shape (P,) or (P, K)
            One entry a prompt.

        Returns
        -------
        ndarray, shape (R,) or (R, K)
            One entry a rollout, not to be written to.
        """
        if self._common_size is None:
            return np.repeat(numbers, self.sizes, axis=0)
        return numbers if self._common_size == 1 else np.repeat(numbers, self._common_size, axis=0)

    def sums(self, column: np.ndarray) -> np.ndarray:
        """Sum over each group.

        Parameters
        ----------
        column : ndarray, shape (R,)
            One number a rollout.

        Returns
        -------
        ndarray, shape (P,)
            One sum a prompt.
        """
        return self.by_group(lambda block: block.sum(axis=1), column)

    def sums_of_others(self, column: np.ndarray) -> np.ndarray:
        """Sum over the other rollouts of each rollout's group.

        Parameters
        ----------
        column : ndarray, shape (R,)
            One number a rollout, none of them NaN.

        Returns
        -------
        ndarray, shape (R,)
            Leave-one-out sums.
        """
        return self.by_group(sums_of_others, column)

    def by_group(self, function: Callable[..., np.ndarray], *columns: np.ndarray) -> np.ndarray:
        """Apply a function to all groups of one size at a time.

        Parameters
        ----------
        function : callable
            Takes arrays of shape (M, N), a group of N rollouts in each row, and returns one number a group, shape (M,),
            or one a rollout, shape (M, N).
        *columns : ndarray, shape (R,)
            What it is applied to.

        Returns
        -------
        ndarray, shape (P,) or (R,)
            One number a prompt or a rollout. R rollouts have at most sqrt(2 R) sizes of groups.
        """
        if self._common_size is not None:
            result = function(*(column.reshape(len(self.sizes), self._common_size) for column in columns))
            return result.ravel()
        results = np.empty(0)
        for prompts, places in self._equal_groups:
            found = function(*(column[places] for column in columns))
            if not results.size:
                results = np.empty(len(self.sizes) if found.ndim == 1 else len(self.rewards), found.dtype)
            results[prompts if found.ndim == 1 else places] = found
        return results

    @cached_property
    def _common_size(self) -> int | None:
        """The number of rollouts that every prompt has, or None if they have not all as many."""
        size = int(self.sizes[0]) if len(self.sizes) else 1
        return size if (self.sizes == size).all() else None

    @cached_property
    def _equal_groups(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each size of a group the prompts with it, shape (M,), and the places of their rollouts, shape (M, N)."""
        starts = np.cumsum(self.sizes) - self.sizes
        classes = []
        for size in np.unique(self.sizes):
            prompts = np.flatnonzero(self.sizes == size)
            classes.append((prompts, starts[prompts, None] + np.arange(size)))
        return classes

    @cached_property
    def keys(self) -> np.ndarray:
        """The prompts as keys of a history, see `kvar.rollouts.prompt_ids.as_keys`; shape (P,)."""
        return as_keys(self.prompt_ids)

    @cached_property
    def scored(self) -> np.ndarray:
        """Mask of the rollouts that have a reward, shape (R,)."""
        return ~np.isnan(self.rewards)

    @cached_property
    def filled(self) -> np.ndarray:
        """The rewards with 0 in place of NaN, shape (R,)."""
        return np.where(self.scored, self.rewards, 0.0)

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of rewards of each prompt, shape (P,)."""
        return self.sums(self.scored)

    @cached_property
    def totals(self) -> np.ndarray:
        """Sum of the rewards of each prompt, shape (P,)."""
        return self.sums(self.filled)

    @cached_property
    def totals_of_others(self) -> np.ndarray:
        """Sum of the other rewards in the group of each rollout, shape (R,)."""
        return self.sums_of_others(self.filled)

    @cached_property
    def n_others(self) -> np.ndarray:
        """Number of other rewards in the group of each rollout, shape (R,)."""
        return self.spread(self.counts) - self.scored

    @cached_property
    def means(self) -> np.ndarray:
        """Mean reward of each prompt, shape (P,); NaN without rewards."""
        return np.divide(self.totals, self.counts, out=np.full(self.totals.shape, np.nan), where=self.counts > 0)

    @cached_property
    def variances(self) -> np.ndarray:
        """Unbiased variance of the rewards of each prompt, shape (P,); NaN for fewer than two rewards."""
        # Differences from the largest reward, so that the variance of equal rewards is exactly 0.
        largest = self.by_group(lambda rewards: np.fmax.reduce(rewards, axis=1, initial=-np.inf), self.rewards)
        below = np.where(self.scored, self.rewards - self.spread(largest), 0.0)
        mean = self.sums(below) / np.maximum(self.counts, 1)
        squares = self.sums(np.where(self.scored, below - self.spread(mean), 0.0) ** 2)
        return np.divide(squares, self.counts - 1, out=np.full(squares.shape, np.nan), where=self.counts > 1)

    @cached_property
    def n_scored(self) -> int:
        """Number of rewards."""
        return int(self.counts.sum())
