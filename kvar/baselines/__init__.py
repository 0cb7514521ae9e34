"""Baselines, one rule a file, and the registry of their names."""

from __future__ import annotations

from typing import cast

from kvar.baselines.adaptive import AdaptiveBaseline
from kvar.baselines.base import Baseline, Estimate
from kvar.baselines.basis import BASIS
from kvar.baselines.batch_mean import BatchMean
from kvar.baselines.buffer import BufferBaseline
from kvar.baselines.discounted_beta import DiscountedBeta
from kvar.baselines.empirical_bayes import EmpiricalBayes
from kvar.baselines.group_mean import GroupMean
from kvar.baselines.james_stein import JamesStein
from kvar.baselines.kalman import KalmanBaseline
from kvar.baselines.kernel import KernelBaseline
from kvar.baselines.krpo import KRPO
from kvar.baselines.leave_one_out import LeaveOneOut
from kvar.baselines.names import BaselineName
from kvar.baselines.none import NoBaseline
from kvar.baselines.opo import OPO
from kvar.baselines.oracle import Oracle
from kvar.baselines.running_mean import RunningMean
from kvar.baselines.score_weighted import ScoreWeighted
from kvar.baselines.variance_optimal import VarianceOptimal
from kvar.utils.checks import did_you_mean

__all__ = [
    "Baseline",
    "BaselineName",
    "Estimate",
    "baseline_class",
    "baseline_names",
    "make_baseline",
    "register_baseline",
]

_REGISTRY: dict[str, type[Baseline]] = {
    cls.name: cls
    for cls in (
        NoBaseline,
        GroupMean,
        LeaveOneOut,
        OPO,
        KRPO,
        BatchMean,
        JamesStein,
        BASIS,
        RunningMean,
        EmpiricalBayes,
        BufferBaseline,
        DiscountedBeta,
        KalmanBaseline,
        KernelBaseline,
        AdaptiveBaseline,
        VarianceOptimal,
        ScoreWeighted,
        Oracle,
    )
}

# Methods that use one of these baselines; states are saved under the registered name.
_ALIASES = {"grpo": "group-mean", "rloo": "leave-one-out", "reinforce++": "batch-mean"}


def baseline_names() -> list[BaselineName]:
    """Names of all registered baselines.

    Returns
    -------
    list of str
        In order of registration.

    Examples
    --------
    >>> baseline_names()[:3]
    ['none', 'group-mean', 'leave-one-out']
    """
    return cast(list[BaselineName], list(_REGISTRY))


def register_baseline(cls: type[Baseline]) -> type[Baseline]:
    """Register a baseline under its name, for `make_baseline`.

    Parameters
    ----------
    cls : type
        A subclass of `Baseline`. It replaces a baseline that is registered under the same name. Type checkers know
        the names that come with kvar only; a baseline of your own is also made by its class.

    Returns
    -------
    type
        The same class, so that the function can be used as a decorator.
    """
    _REGISTRY[cls.name] = cls
    return cls


def baseline_class(name: str) -> type[Baseline]:
    """Look a baseline up by name.

    Parameters
    ----------
    name : str
        A registered name, or the method that uses it: "grpo", "rloo", "reinforce++", in any case.

    Returns
    -------
    type
        The class, a subclass of `Baseline`.

    Raises
    ------
    ValueError
        If the name is not registered.
    """
    try:
        if name in _REGISTRY:
            return _REGISTRY[name]
        return _REGISTRY[_ALIASES[name.lower()]]
    except (AttributeError, KeyError, TypeError):
        near = did_you_mean(name, [*_REGISTRY, *_ALIASES])
        raise ValueError(f"unknown baseline {name!r:.60}; choose one of {', '.join(_REGISTRY)}{near}") from None


def make_baseline(name: BaselineName, **parameters: float | str) -> Baseline:
    """Make a baseline with an empty history.

    Parameters
    ----------
    name : str
        A registered name, see `baseline_names`, or "grpo", "rloo" or "reinforce++".
    **parameters
        Parameters of that baseline; ``make_baseline(name).parameters`` returns them with their defaults.

    Returns
    -------
    Baseline
        Ready for its first step.

    Raises
    ------
    ValueError
        If the name or a parameter is unknown, or a parameter has an impossible value.

    Examples
    --------
    >>> make_baseline("kernel").parameters
    {'bandwidth': 10.0, 'kernel': 'triangular', 'degree': 0, 'clock': 'steps', 'drift': False}
    >>> baseline = make_baseline("kernel", bandwidth=10)
    >>> baseline.advantages(["2+3="], [[1.0, 0.0]], step=1)
    array([[ 1., -1.]])
    >>> baseline.estimate(["2+3="], [[1.0, 1.0]], step=2).round(3)
    array([[0.679, 0.679]])
    """
    cls = baseline_class(name)
    known = cls.parameter_names()
    unknown = [key for key in parameters if key not in known]
    if unknown:
        takes = f"takes {', '.join(known)}" if known else "takes no parameters"
        raise ValueError(f"baseline {name!r} {takes}; got {unknown[0]!r}")
    return cls(**parameters)
