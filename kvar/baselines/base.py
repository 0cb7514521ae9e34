"""What every baseline is: a map from a step's rollouts to values, and what it remembers of them."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable
from typing import Any, ClassVar

import numpy as np

from kvar.rollouts.batch import Batch
from kvar.utils import arrays
from kvar.utils.checks import checked_keys

__all__ = ["Baseline", "Estimate"]

_STATE_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Values with their uncertainty, each an array of one shape.

    Attributes
    ----------
    values : array
        One value a rollout.
    standard_error : array
        Of the value as an estimate of the true one; NaN where the method states none.
    effective_sample_size : array
        How many rewards of equal weight the value is worth; NaN where the method states none.
    """

    values: Any
    standard_error: Any
    effective_sample_size: Any

    def in_rows(self, batch: Batch, like) -> Estimate:
        """The same numbers in the rows of a batch, as arrays of the library, dtype and device of another array."""
        numbers = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Estimate(*(arrays.like(batch.to_rows(column), like) for column in numbers))


@dataclasses.dataclass
class Baseline(ABC):
    """An estimate of the value of each prompt, one number a rollout.

    A subclass is a dataclass whose fields are its parameters. It implements `values`; `learn` and the two state methods
    if it keeps a history; `own_weight` if a rollout's own reward enters its own value. What these have in common, such
    as sums over the history, it finds in `_recall` and reads by `recalled`.

    Attributes
    ----------
    name : str
        Key in the registry.
    needs : tuple of str
        Columns beside the rewards that `estimate` must be given.
    reward_range : tuple of float
        Least and largest reward that the method is made for.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    reward_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    _memo: tuple[Batch, Any] | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def estimate(self, prompt_ids, rewards, step: float, *, return_info: bool = False, **columns):
        """Values of a step's rollouts, from what was remembered and the other rollouts of the batch.

        Parameters
        ----------
        prompt_ids : array_like of int or str, shape (B,)
            The prompt of each row. Rows of one prompt form one group.
        rewards : array_like, shape (B, G) or (B,)
            Rewards; NaN marks a completion that could not be scored, which is left out everywhere.
        step : int or float
            Time of the batch; never less than the last one remembered. Any clock that does not go back serves:
            accumulated learning rate or divergence of the policy as well as the number of the step.
        return_info : bool
            Return an `Estimate` with standard errors and effective sample sizes beside the values.
        **columns : array_like, shape (B, G) or (B,)
            What `columns_used` picks, `needs` at the least; anything more is ignored.

        Returns
        -------
        array of the library, dtype, device and shape of `rewards`, or Estimate of such arrays
            One value a rollout; NaN where the method leaves it undefined.

        Raises
        ------
        ValueError
            If shapes disagree, a reward is infinite or outside `reward_range`, a needed column is missing, or the step
            goes back and the baseline keeps a history of steps.
        TypeError
            If prompt ids are neither integers nor strings, or arrays of several libraries are mixed.
        """
        batch = self._batch(prompt_ids, rewards, step, columns)
        if return_info:
            return self.assess(batch).in_rows(batch, rewards)
        return arrays.like(batch.to_rows(self.values(batch)), rewards)

    def update(self, prompt_ids, rewards, step: float, **columns) -> None:
        """Remember a step's rewards.

        Parameters
        ----------
        prompt_ids : array_like of int or str, shape (B,)
            The prompt of each row.
        rewards : array_like, shape (B, G) or (B,)
            Rewards; NaN is not remembered.
        step : int or float
            Time of the batch; never less than the last one remembered.
        **columns : array_like, shape (B, G) or (B,)
            As in `estimate`, if what is remembered depends on them.

        Raises
        ------
        ValueError
            If shapes disagree, a reward is infinite or outside `reward_range`, or the step goes back and the baseline
            keeps a history of steps.
        TypeError
            If prompt ids are neither integers nor strings, or arrays of several libraries are mixed.
        """
        self.remember(self._laid_out(prompt_ids, rewards, step, columns))

    def advantages(self, prompt_ids, rewards, step: float, *, return_info: bool = False, **columns):
        """Rewards minus values, then remember the rewards: one look at the history.

        Parameters
        ----------
        prompt_ids : array_like of int or str, shape (B,)
            The prompt of each row.
        rewards : array_like, shape (B, G) or (B,)
            Rewards; NaN marks a completion that could not be scored.
        step : int or float
            Time of the batch.
        return_info : bool
            Return the `Estimate` behind the advantages as well.
        **columns : array_like, shape (B, G) or (B,)
            As in `estimate`.

        Returns
        -------
        array of the library, dtype, device and shape of `rewards`
            Advantages; zero where the reward is NaN, so that such a rollout does not move the policy.
        Estimate
            Values, standard errors and effective sample sizes; only with `return_info`.

        Raises
        ------
        ValueError
            As in `estimate`.
        TypeError
            As in `estimate`.
        """
        batch = self._batch(prompt_ids, rewards, step, columns)
        info = self.assess(batch) if return_info else None
        values = self.values(batch) if info is None else info.values
        differences = np.where(batch.scored, batch.rewards - values, 0.0)
        # Converted first: what cannot be handed to the caller has not been remembered either.
        advantages = arrays.like(batch.to_rows(differences), rewards)
        info = None if info is None else info.in_rows(batch, rewards)
        self.remember(batch)
        return advantages if info is None else (advantages, info)

    def _batch(self, prompt_ids, rewards, step, columns) -> Batch:
        missing = [name for name in self.needs if columns.get(name) is None]
        if missing:
            raise ValueError(f"baseline {self.name!r} needs {', '.join(missing)}: pass it by name, {missing[0]}=...")
        return self._laid_out(prompt_ids, rewards, step, columns)

    def _laid_out(self, prompt_ids, rewards, step, columns) -> Batch:
        used = {name: columns[name] for name in self.columns_used(columns)}
        batch = Batch.from_rows(prompt_ids, rewards, step, used)
        if reason := self.reason_not_applicable(batch.rewards, self.needs):
            raise ValueError(f"baseline {self.name!r} {reason}")
        return batch

    def columns_used(self, names: Iterable[str]) -> list[str]:
        """Which of the columns that are there this baseline looks at.

        Parameters
        ----------
        names : iterable of str
            Names of columns.

        Returns
        -------
        list of str
            Those that it needs, and those that it does better with.
        """
        names = set(names)
        return [name for name in self.needs if name in names]

    def reason_not_applicable(self, rewards: np.ndarray, columns: Container[str]) -> str | None:
        """Why this baseline cannot be used on some rollouts, or None.

        Parameters
        ----------
        rewards : ndarray
            Their rewards; NaN is allowed.
        columns : container of str
            Names of the columns that come with them.

        Returns
        -------
        str or None
            The end of a sentence that begins with the baseline's name.
        """
        for name in self.needs:
            if name not in columns:
                return f"needs the column {name!r}"
        low, high = self.reward_range
        outside = rewards[(rewards < low) | (rewards > high)]
        return f"takes rewards from {low:g} to {high:g}, got {outside[0]:g}" if outside.size else None

    @abstractmethod
    def values(self, batch: Batch) -> np.ndarray:
        """Values in the layout of a batch.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        ndarray of float64, shape (P, N)
            One value a rollout.
        """

    def assess(self, batch: Batch) -> Estimate:
        """Values with their uncertainty, in the layout of a batch.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        Estimate
            Of arrays of shape (P, N).
        """
        unknown = np.full(batch.rewards.shape, np.nan)
        return Estimate(self.values(batch), unknown, unknown)

    def remember(self, batch: Batch) -> None:
        """Take a batch into the history.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.
        """
        self.learn(batch)
        self._memo = None

    def learn(self, batch: Batch) -> None:  # noqa: B027  (a baseline without a history learns nothing)
        """Change what is kept by a batch's rewards; called by `remember`.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.
        """

    def recalled(self, batch: Batch) -> Any:
        """What `_recall` finds for a batch, worked out once until the batch is remembered.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        object
            Not to be written into.
        """
        if self._memo is None or self._memo[0] is not batch:
            self._memo = (batch, self._recall(batch))
        return self._memo[1]

    def _recall(self, batch: Batch) -> Any:
        """What values, own weights and learning have in common, such as sums over the history."""
        return None

    def own_weight(self, batch: Batch) -> np.ndarray:
        """How much of a rollout's own reward enters its own value, the derivative of the one by the other.

        Where a value is not linear in the own reward, this holds for small changes only.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        ndarray of float64, shape (P, N)
            Zero for a baseline that leaves the own reward out, which keeps the policy gradient unbiased.
        """
        return np.zeros(batch.rewards.shape)

    def state_dict(self) -> dict:
        """All that `load_state_dict` needs to continue to the last bit.

        Returns
        -------
        dict
            Plain data: numbers, strings, lists and NumPy arrays, with a version.
        """
        return {"version": _STATE_VERSION, "name": self.name, "parameters": self.parameters, "state": self._state()}

    def load_state_dict(self, state: dict) -> None:
        """Continue where another baseline of the same name and parameters stood.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.

        Raises
        ------
        ValueError
            If it belongs to another baseline, other parameters or another version, or is damaged; nothing is changed
            then.
        """
        expected = {"version": _STATE_VERSION, "name": self.name, "parameters": self.parameters}
        checked_keys(state, (*expected, "state"), "a baseline's state")
        for key, value in expected.items():
            if type(state[key]) is not type(value) or state[key] != value:
                raise ValueError(f"this state is of {key} {state[key]!r:.200}, but the baseline is of {key} {value!r}")
        # Another one takes it first, so that a state which turns out damaged half way through has changed nothing.
        other = self._fresh()
        try:
            other._load_state(state["state"])
        except ValueError as error:
            raise ValueError(f"this state of baseline {self.name!r} is damaged: {error}") from None
        self.__dict__.update(other.__dict__)

    @property
    def window_in_use(self) -> float:
        """How many steps back the method looks, as it has chosen so far; NaN for one that has no window."""
        return math.nan

    @property
    def parameters(self) -> dict:
        """The parameters by name, as `make_baseline` takes them; numbers are Python's own."""
        given = {name: getattr(self, name) for name in self.parameter_names()}
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Names of the parameters that `make_baseline` takes.

        Returns
        -------
        list of str
            In the order of the class.
        """
        return [field.name for field in dataclasses.fields(cls) if field.init]

    def _fresh(self) -> Baseline:
        """An equal baseline with an empty history."""
        return type(self)(**self.parameters)

    def _state(self) -> dict:
        return {}

    def _load_state(self, state: dict) -> None:
        checked_keys(state, (), "the state of a baseline without a history")
