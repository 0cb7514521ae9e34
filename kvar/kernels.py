"""Kernels and their constants, in one registry.

A kernel here is a symmetric weight ``K(|u|)`` with mass one on the real line, except ``exponential``, which
lives on ``u >= 0`` only and has its mass there. Value estimates look back in time and use the half ``u >= 0``; a
ratio of weighted sums does not depend on the mass, so one definition serves both.

The support is closed: ``|u| <= 1`` belongs to it. This decides the uniform kernel at the edge of its window, for every
estimator and every reference loop of the project.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
from numpy.polynomial import polynomial

__all__ = ["EXPONENTIAL", "GAUSSIAN", "CompactKernel", "Kernel", "KernelName", "get_kernel", "kernel_names"]

# For type checkers.
KernelName = Literal[
    "uniform", "triangular", "epanechnikov", "biweight", "triweight", "tricube", "gaussian", "exponential"
]

# Weights below the unit roundoff of the largest one no longer change a double-precision sum.
_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class Kernel(ABC):
    """A weight function of the scaled distance, with the constants that theory needs.

    Attributes
    ----------
    name : str
        Key in the registry.
    one_sided : bool
        True if the kernel has mass on ``u >= 0`` only.

    Examples
    --------
    >>> kernel = get_kernel("epanechnikov")
    >>> kernel([0.0, 0.5, 2.0])
    array([0.75  , 0.5625, 0.    ])
    >>> round(kernel.roughness, 3), round(kernel.canonical_bandwidth, 3)
    (0.6, 1.719)
    """

    name: str
    one_sided: bool = False

    @property
    def support(self) -> float:
        """Half-width of the support in bandwidths; ``inf`` where the tails never end."""
        return math.inf

    @property
    def reach(self) -> float:
        """Distance in bandwidths past which the weight is zero, or below the unit roundoff of ``K(0)``."""
        return self.support

    @cached_property
    def at_zero(self) -> float:
        """``K(0)``, the weight of an observation at the target itself."""
        return float(self(0.0))

    def __call__(self, u):
        """Weights at scaled distances."""
        u = np.asarray(u, dtype=np.float64)
        weights = self._evaluate(np.abs(u))
        return np.where(u >= 0, weights, 0.0) if self.one_sided else weights

    @abstractmethod
    def _evaluate(self, distance):
        """Weights at distances that are not negative."""

    @abstractmethod
    def half_moment(self, order: int) -> float:
        """Moment over the half line.

        Parameters
        ----------
        order : int
            Power of u, at least 0.

        Returns
        -------
        float
            ``integral of u**order K(u) over u >= 0``, as for a fit at a boundary or one that looks back only.
        """

    @abstractmethod
    def half_square_moment(self, order: int) -> float:
        """Moment of the squared kernel over the half line.

        Parameters
        ----------
        order : int
            Power of u, at least 0.

        Returns
        -------
        float
            ``integral of u**order K(u)**2 over u >= 0``.
        """

    def moment(self, order: int) -> float:
        """Moment over the whole line.

        Parameters
        ----------
        order : int
            Power of u, at least 0.

        Returns
        -------
        float
            ``integral of u**order K(u)``.
        """
        if self.one_sided:
            return self.half_moment(order)
        return 0.0 if order % 2 else 2.0 * self.half_moment(order)

    @property
    def roughness(self) -> float:
        """``R(K)``, the integral of the squared kernel over its support."""
        return self.half_square_moment(0) * (1.0 if self.one_sided else 2.0)

    @property
    def canonical_bandwidth(self) -> float:
        """``(R(K) / mu_2(K)**2)**(1/5)``, the scale that makes kernels comparable.

        Marron and Nolan (1988): bandwidths of two kernels smooth alike when their ratio is that of these numbers.
        """
        return (self.roughness / self.moment(2) ** 2) ** 0.2


@dataclass(frozen=True)
class CompactKernel(Kernel):
    """``K(u) = c (1 - |u|**base)**power`` on ``|u| <= 1``: every compact kernel in common use.

    Attributes
    ----------
    name : str
        Key in the registry.
    one_sided : bool
        True if the kernel has mass on ``u >= 0`` only.
    base : int
        Power of the distance, at least 1.
    power : int
        Power of the bracket, at least 0; 0 is the uniform kernel.
    """

    base: int = 1
    power: int = 0

    @property
    def support(self) -> float:
        """Half-width of the support: one bandwidth."""
        return 1.0

    @cached_property
    def coefficients(self) -> tuple[float, ...]:
        """``K(u) = sum_k coefficients[k] |u|**k`` on the support: the form that exact fast summation works on."""
        bracket = np.zeros(self.base + 1)
        bracket[0], bracket[-1] = 1.0, -1.0
        expanded = polynomial.polypow(bracket, self.power)
        return tuple(float(c) for c in expanded / (2.0 * _unit_integral(expanded, 0)))

    def _evaluate(self, distance):
        if self.power == 0:
            return np.where(distance <= 1.0, self.coefficients[0], 0.0)
        # The factored form keeps its relative accuracy at the edge, where the expanded one cancels. A distance cut off
        # at the edge gives the zero beyond it. All in place, since histories are large.
        weights = np.asarray(np.minimum(distance, 1.0))
        if self.base > 1:  # cost only
            weights **= self.base
        np.subtract(1.0, weights, out=weights)
        if self.power > 1:  # cost only
            weights **= self.power
        weights *= self.coefficients[0]
        return weights

    def half_moment(self, order: int) -> float:
        """Moment over the half line, exact: ``sum_k c_k / (k + order + 1)`` over the coefficients."""
        return _unit_integral(self.coefficients, order)

    def half_square_moment(self, order: int) -> float:
        """Moment of the squared kernel over the half line: the same sum for the squared polynomial."""
        return _unit_integral(polynomial.polymul(self.coefficients, self.coefficients), order)


@dataclass(frozen=True)
class _GaussianKernel(Kernel):
    """The standard normal density; its bandwidth is the standard deviation."""

    @property
    def reach(self) -> float:
        return math.sqrt(-2.0 * math.log(_ROUNDOFF))

    def _evaluate(self, distance):
        return np.exp(-0.5 * distance**2) / math.sqrt(2.0 * math.pi)

    def half_moment(self, order: int) -> float:
        return 2.0 ** (order / 2 - 1) * math.gamma((order + 1) / 2) / math.sqrt(math.pi)

    def half_square_moment(self, order: int) -> float:
        return math.gamma((order + 1) / 2) / (4.0 * math.pi)


@dataclass(frozen=True)
class _ExponentialKernel(Kernel):
    """``exp(-u)`` on the half line; the paper's ``rho**u`` is this one at bandwidth ``h / log(1 / rho)``."""

    @property
    def reach(self) -> float:
        return -math.log(_ROUNDOFF)

    def _evaluate(self, distance):
        return np.exp(-distance)

    def half_moment(self, order: int) -> float:
        return math.gamma(order + 1)

    def half_square_moment(self, order: int) -> float:
        return math.gamma(order + 1) / 2.0 ** (order + 1)


def _unit_integral(coefficients, order):
    return math.fsum(c / (k + order + 1) for k, c in enumerate(coefficients))


GAUSSIAN = _GaussianKernel("gaussian")
EXPONENTIAL = _ExponentialKernel("exponential", one_sided=True)

_REGISTRY: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        CompactKernel("uniform", base=1, power=0),
        CompactKernel("triangular", base=1, power=1),
        CompactKernel("epanechnikov", base=2, power=1),
        CompactKernel("biweight", base=2, power=2),
        CompactKernel("triweight", base=2, power=3),
        CompactKernel("tricube", base=3, power=3),
        GAUSSIAN,
        EXPONENTIAL,
    )
}


def kernel_names() -> list[KernelName]:
    """Names of all registered kernels.

    Returns
    -------
    list of str
        In the order of registration.

    Examples
    --------
    >>> kernel_names()[:3]
    ['uniform', 'triangular', 'epanechnikov']
    """
    return cast(list[KernelName], list(_REGISTRY))


def get_kernel(kernel: KernelName | Kernel) -> Kernel:
    """Look a kernel up by name.

    Parameters
    ----------
    kernel : str or Kernel
        A registered name, or a kernel, which is returned unchanged.

    Returns
    -------
    Kernel
        The kernel with its constants.

    Raises
    ------
    ValueError
        If the name is not registered.

    Examples
    --------
    >>> kernel = get_kernel("triangular")
    >>> kernel([0.0, 0.5, 2.0])
    array([1. , 0.5, 0. ])
    >>> round(kernel.moment(2), 4), round(kernel.roughness, 4)
    (0.1667, 0.6667)
    """
    if isinstance(kernel, Kernel):
        return kernel
    try:
        return _REGISTRY[kernel]
    except (KeyError, TypeError):
        raise ValueError(f"unknown kernel {kernel!r:.60}; choose one of {', '.join(_REGISTRY)}") from None
