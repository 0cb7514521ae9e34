"""Base class of all baselines: values of a step's rollouts, and what is remembered of their rewards.

Longer than other modules, because the contract that every baseline keeps is written out here.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable
from typing import Any, ClassVar, Literal, overload

import numpy as np

from kvar.baselines.estimate import Estimate
from kvar.baselines.one_rollout import OneRollout, check_group_size
from kvar.rollouts.batch import Batch
from kvar.utils import arrays
from kvar.utils.array_types import ArrayT, Column, Ids, Numbers
from kvar.utils.checks import checked_keys

__all__ = ["Baseline", "Estimate"]

_STATE_VERSION = 1


@dataclasses.dataclass
class Baseline(ABC):
    """An estimate of the value of each prompt, one number a rollout.

    A subclass is a dataclass whose fields are its parameters. It implements `values`. If it keeps a history, it also
    implements `learn`, `_state` and `_load_state`; if a rollout's own reward enters its own value, `own_weight`. If
    these methods share a computation, such as sums over the history, `_recall` performs it, and they call `recalled`.

    Attributes
    ----------
    name : str
        Key in the registry.
    needs : tuple of str
        Columns that `estimate` needs in addition to the rewards.
    reward_range : tuple of float
        Smallest and largest reward that the method can take.
    group_only : bool
        Whether a value depends on nothing but the group of the rollout, so that a replay takes all steps at once.
    one_rollout : {"works", "no baseline", "refused"}
        What becomes of prompts with one rollout each: the method works, leaves advantages equal to rewards, or is
        refused, since it compares the rollouts of one prompt.

    Examples
    --------
    A fraction of the group's largest reward, without a history:

    >>> import dataclasses
    >>> import kvar
    >>> import numpy as np
    >>> @dataclasses.dataclass
    ... class FractionOfBest(kvar.Baseline):
    ...     name = "fraction-of-best"
    ...     fraction: float = 0.5
    ...
    ...     def values(self, batch):
    ...         best = batch.by_group(lambda rewards: rewards.max(axis=1), batch.filled)
    ...         return batch.spread(self.fraction * best)
    >>> baseline = FractionOfBest()
    >>> baseline.parameters
    {'fraction': 0.5}
    >>> baseline.advantages(["2+3=", "7*8="], [[1.0, 0.0], [0.0, 0.0]], step=1)
    array([[ 0.5, -0.5],
           [ 0. ,  0. ]])
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    reward_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    group_only: ClassVar[bool] = False
    one_rollout: ClassVar[OneRollout] = "works"
    _memo: tuple[Batch, Any] | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        # What holds for the values of a class need not hold for those that another one has in their place.
        if "values" in vars(cls) and "group_only" not in vars(cls):
            cls.group_only = False

    @overload
    def estimate(
        self, prompt_ids: Ids, rewards: ArrayT, step: float, *, return_info: Literal[False] = False, **columns: Column
    ) -> ArrayT: ...

    @overload
    def estimate(
        self, prompt_ids: Ids, rewards: Numbers, step: float, *, return_info: Literal[False] = False, **columns: Column
    ) -> np.ndarray: ...

    @overload
    def estimate(
        self, prompt_ids: Ids, rewards: ArrayT, step: float, *, return_info: Literal[True], **columns: Column
    ) -> Estimate[ArrayT]: ...

    @overload
    def estimate(
        self, prompt_ids: Ids, rewards: Numbers, step: float, *, return_info: Literal[True], **columns: Column
    ) -> Estimate[np.ndarray]: ...

    def estimate(self, prompt_ids, rewards, step, *, return_info=False, **columns):
        """Values of a step's rollouts, from the history and the other rollouts of the batch.

        Parameters
        ----------
        prompt_ids : array_like of int or str, shape (B,)
            The prompt of each row. Rows of one prompt form one group.
        rewards : array_like, shape (B, G) or (B,)
            Rewards. NaN marks a completion that could not be scored; it does not enter any value.
        step : int or float
            Time of the batch, not less than that of the last batch remembered. Any clock that does not go back is
            possible: the number of the step, the accumulated learning rate, or the divergence of the policy.
        return_info : bool
            Whether to return an `Estimate`, with standard errors and effective sample sizes in addition to the values.
        **columns : array_like, shape (B, G) or (B,)
            The columns in `needs`, and any that `columns_used` selects; others are ignored.

        Returns
        -------
        array of the library, dtype, device and shape of `rewards`, or Estimate of such arrays
            One value a rollout; NaN where the method does not define it.

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

    def update(self, prompt_ids: Ids, rewards: Column, step: float, **columns: Column) -> None:
        """Take a step's rewards into the history.

        Parameters
        ----------
        prompt_ids : array_like of int or str, shape (B,)
            The prompt of each row.
        rewards : array_like, shape (B, G) or (B,)
            Rewards; NaN is not remembered.
        step : int or float
            Time of the batch, not less than that of the last batch remembered.
        **columns : array_like, shape (B, G) or (B,)
            As in `estimate`; needed if the history depends on them.

        Raises
        ------
        ValueError
            If shapes disagree, a reward is infinite or outside `reward_range`, or the step goes back and the baseline
            keeps a history of steps.
        TypeError
            If prompt ids are neither integers nor strings, or arrays of several libraries are mixed.
        """
        self.remember(self._laid_out(prompt_ids, rewards, step, columns))

    @overload
    def advantages(
        self, prompt_ids: Ids, rewards: ArrayT, step: float, *, return_info: Literal[False] = False, **columns: Column
    ) -> ArrayT: ...

    @overload
    def advantages(
        self, prompt_ids: Ids, rewards: Numbers, step: float, *, return_info: Literal[False] = False, **columns: Column
    ) -> np.ndarray: ...

    @overload
    def advantages(
        self, prompt_ids: Ids, rewards: ArrayT, step: float, *, return_info: Literal[True], **columns: Column
    ) -> tuple[ArrayT, Estimate[ArrayT]]: ...

    @overload
    def advantages(
        self, prompt_ids: Ids, rewards: Numbers, step: float, *, return_info: Literal[True], **columns: Column
    ) -> tuple[np.ndarray, Estimate[np.ndarray]]: ...

    def advantages(self, prompt_ids, rewards, step, *, return_info=False, **columns):
        """Advantages, rewards minus values, of a step; then the rewards are taken into the history.

        Parameters
        ----------
        prompt_ids : array_like of int or str, shape (B,)
            The prompt of each row.
        rewards : array_like, shape (B, G) or (B,)
            Rewards; NaN marks a completion that could not be scored.
        step : int or float
            Time of the batch.
        return_info : bool
            Whether to return the `Estimate` behind the advantages too.
        **columns : array_like, shape (B, G) or (B,)
            As in `estimate`.

        Returns
        -------
        array of the library, dtype, device and shape of `rewards`
            Advantages; 0 where the reward is NaN, so that such a rollout has no effect on the policy.
        Estimate
            Values, standard errors and effective sample sizes, only with `return_info`.

        Raises
        ------
        ValueError
            As in `estimate`, and if no prompt has a second rollout and the baseline compares those of one prompt.
        TypeError
            As in `estimate`.

        Warns
        -----
        UserWarning
            If no prompt has a second rollout and advantages therefore equal rewards.
        """
        batch = self._batch(prompt_ids, rewards, step, columns)
        check_group_size(self.name, self.one_rollout, batch.sizes.max(initial=0))
        info = self.assess(batch) if return_info else None
        values = self.values(batch) if info is None else info.values
        differences = np.where(batch.scored, batch.rewards - values, 0.0)
        # Conversion comes first: if it fails, the batch must not be in the history.
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
        """Names of the columns that this baseline uses, among those available.

        Parameters
        ----------
        names : iterable of str
            Names of the available columns.

        Returns
        -------
        list of str
            Those in `needs`, and optional ones that improve the values.
        """
        names = set(names)
        return [name for name in self.needs if name in names]

    def reason_not_applicable(self, rewards: np.ndarray, columns: Container[str]) -> str | None:
        """Why this baseline cannot be used on some rollouts, or None.

        Parameters
        ----------
        rewards : ndarray
            Rewards of the rollouts; NaN is allowed.
        columns : container of str
            Names of the columns of the rollouts.

        Returns
        -------
        str or None
            The predicate of a sentence whose subject is the baseline.
        """
        for name in self.needs:
            if name not in columns:
                return f"needs the column {name!r}"
        low, high = self.reward_range
        outside = rewards[(rewards < low) | (rewards > high)]
        return f"takes rewards from {low:g} to {high:g}, got {outside[0]:g}" if outside.size else None

    @abstractmethod
    def values(self, batch: Batch) -> np.ndarray:
        """Value of each rollout of a batch, without remembering the batch.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        ndarray of float64, shape (R,)
            One value a rollout, in the order of the batch.
        """

    def assess(self, batch: Batch) -> Estimate[np.ndarray]:
        """Values with their uncertainty, without remembering the batch.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        Estimate
            Arrays of shape (R,), in the order of the batch.
        """
        unknown = np.full(batch.rewards.shape, np.nan)
        return Estimate(self.values(batch), unknown, unknown)

    def assess_values(self, batch: Batch) -> Estimate[np.ndarray]:
        """Expected rewards with their uncertainty, also by a baseline that aims at something else than the value.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        Estimate
            Arrays of shape (R,), in the order of the batch.
        """
        return self.assess(batch)

    def second_moments(self, batch: Batch) -> np.ndarray:
        """Expected squared length ``E[n (Z - b)^2]`` of a rollout's gradient, n the squared norm of its score.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        ndarray of float64, shape (R,)
            Up to a factor that all prompts share; NaN if the method does not estimate it.
        """
        return np.full(batch.rewards.shape, np.nan)

    def remember(self, batch: Batch) -> None:
        """Take a batch into the history.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.
        """
        self.learn(batch)
        self._memo = None

    @classmethod
    def has_history(cls) -> bool:
        """Whether earlier steps count in its values."""
        return cls.learn is not Baseline.learn

    def learn(self, batch: Batch) -> None:  # noqa: B027  (a baseline without a history learns nothing)
        """Update the history by a batch's rewards; `remember` calls it.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.
        """

    def recalled(self, batch: Batch) -> Any:
        """Result of `_recall` for a batch, computed once and kept until the batch is remembered.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        object
            Must not be modified.
        """
        if self._memo is None or self._memo[0] is not batch:
            self._memo = (batch, self._recall(batch))
        return self._memo[1]

    def _recall(self, batch: Batch) -> Any:
        """Computation shared by `values`, `own_weight` and `learn`, such as sums over the history."""
        return None

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Derivative of each rollout's value by its own reward.

        If the value is not linear in the own reward, the derivative is taken at the rewards of the batch.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        ndarray of float64, shape (R,)
            0 if the value does not depend on the own reward, which keeps the policy gradient unbiased.
        """
        return np.zeros(batch.rewards.shape)

    def state_dict(self) -> dict:
        """State from which `load_state_dict` continues to the last bit.

        Returns
        -------
        dict
            Plain data with a version: numbers, strings, lists and NumPy arrays.
        """
        return {"version": _STATE_VERSION, "name": self.name, "parameters": self.parameters, "state": self._state()}

    def load_state_dict(self, state: dict) -> None:
        """Continue from the state of a baseline with the same name and parameters.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.

        Raises
        ------
        ValueError
            If the state is damaged, or of another baseline, version or other parameters. Nothing is changed then.
        """
        expected = {"version": _STATE_VERSION, "name": self.name, "parameters": self.parameters}
        checked_keys(state, (*expected, "state"), "a baseline's state")
        for key, value in expected.items():
            if type(state[key]) is not type(value) or state[key] != value:
                raise ValueError(
                    f"this state is of {key} {state[key]!r:.200}, but the baseline is of {key} {value!r}; "
                    f"load it into a baseline of the same {key}"
                )
        # A fresh baseline loads it first: if the state turns out to be damaged, this one is unchanged.
        restored = self._fresh()
        try:
            restored._load_state(state["state"])
        except ValueError as error:
            raise ValueError(f"this state of baseline {self.name!r} is damaged: {error}") from None
        self.__dict__.update(restored.__dict__)

    @property
    def window_in_use(self) -> float:
        """Window in steps that the method uses now; NaN if it has no window."""
        return math.nan

    @property
    def parameters(self) -> dict:
        """Parameters by name, as `make_baseline` takes them; numbers are Python's, not NumPy's."""
        values = {name: getattr(self, name) for name in self.parameter_names()}
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Names of the parameters that `make_baseline` takes.

        Returns
        -------
        list of str
            In the order of the class's fields.
        """
        return [field.name for field in dataclasses.fields(cls) if field.init]

    def _fresh(self) -> Baseline:
        """An equal baseline with an empty history."""
        return type(self)(**self.parameters)

    def _state(self) -> dict:
        return {}

    def _load_state(self, state: dict) -> None:
        checked_keys(state, (), "the state of a baseline without a history")
