"""The choice of a bandwidth, and the scores that it comes from."""

from __future__ import annotations

import html
import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from kvar.kernels import Kernel, KernelName, get_kernel
from kvar.smoothing.criteria import CRITERIA, least
from kvar.smoothing.data_checks import check_counts
from kvar.smoothing.grid import default_grid, given_grid
from kvar.smoothing.selection_problem import Problem
from kvar.utils.checks import require_choice, require_flags
from kvar.utils.extras import new_axes
from kvar.utils.summaries import text_lines, text_table

# For type checkers.
BandwidthMethod = Literal[
    "averaged", "loo-cv", "leave-one-step-out", "one-step-ahead", "gcv", "aicc", "lepski", "rule-of-thumb", "plug-in"
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BandwidthMethod", "BandwidthSelection", "bandwidth_methods", "select_bandwidth"]


@dataclass(frozen=True)
class BandwidthSelection:
    """A chosen bandwidth, and the scores of all candidates.

    Attributes
    ----------
    bandwidth : float
        In units of x. The candidate with the least score, or with `refine` the bandwidth next to it that has it; for
        ``"averaged"`` the geometric mean of all candidates under `weights`.
    grid : ndarray of float64, shape (g,)
        Candidates in units of x, increasing.
    scores : ndarray of float64, shape (g,)
        Criterion at each, lower is better; infinite where a candidate is rejected.
    weights : ndarray of float64, shape (g,)
        Weight of each in the choice: spread over the candidates for ``"averaged"``, else one at the least score.
    without_neighbour : ndarray of int64, shape (g,)
        Scored observations that a candidate leaves without a neighbour or, for local lines, without a second x.
    at_edge : bool
        The least score is that of the least or the largest admissible candidate, so a better one may lie outside; or a
        single observation rules all bandwidths out that are less than half of the chosen one.
    n_scored : int
        Observations that the criterion uses.
    method, kernel, sided : str
        As given.
    degree : int
        As given.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0.0, 1.0, 200)
    >>> chosen = select_bandwidth(x, np.sin(6.0 * x) + 0.3 * np.random.default_rng(0).standard_normal(200), "loo-cv")
    >>> chosen
    Bandwidth 0.0486 for the epanechnikov kernel, degree 0, sided='two', by 'loo-cv'.
    Least score 0.08535 at 0.0486, of 50 candidates from 0.00503 to 1, over 200 observations.
    bandwidth    score  weight
    0.03916    0.08596    0.00
    0.04362    0.08539    0.00
    0.0486     0.08535    1.00
    0.05414    0.08568    0.00
    0.06032    0.08653    0.00
    """

    bandwidth: float
    grid: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    without_neighbour: np.ndarray
    at_edge: bool
    n_scored: int
    method: str
    kernel: str
    sided: str
    degree: int

    def __repr__(self) -> str:
        """The choice, what it rests on, and the candidates around it."""
        best = least(self.scores)
        near = slice(max(best - 2, 0), best + 3)
        rows = [
            [f"{h:.4g}", f"{score:.4g}", f"{weight:.2f}"]
            for h, score, weight in zip(self.grid[near], self.scores[near], self.weights[near], strict=True)
        ]
        choice = (
            f"Bandwidth {self.bandwidth:.4g} for the {self.kernel} kernel, degree {self.degree}, "
            f"sided={self.sided!r}, by {self.method!r}."
        )
        basis = (
            f"Least score {self.scores[best]:.4g} at {self.grid[best]:.4g}, of {self.grid.size} candidates from "
            f"{self.grid[0]:.4g} to {self.grid[-1]:.4g}, over {self.n_scored:,} observations."
        )
        edge = ["It is at the edge: a better one may lie outside."] if self.at_edge else []
        lines = text_lines([choice, basis, *edge])
        return "\n".join([*lines, *text_table(["bandwidth", "score", "weight"], rows)])

    def _repr_html_(self) -> str:
        from matplotlib.figure import Figure

        figure, drawing = Figure(figsize=(5, 3), layout="constrained"), io.StringIO()
        self.plot(figure.subplots())
        figure.savefig(drawing, format="svg")
        picture = drawing.getvalue()
        return f"<pre>{html.escape(repr(self))}</pre>{picture[picture.index('<svg') :]}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the scores over the grid.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure if missing.

        Returns
        -------
        matplotlib Axes
            The drawing. Rejected candidates are left out; the weights are shaded where more than one is positive.
        """
        ax = new_axes() if ax is None else ax
        finite = np.isfinite(self.scores)
        ax.plot(self.grid[finite], self.scores[finite], marker=".", color="C0")
        ax.axvline(self.bandwidth, color="C3", linestyle="--", label=f"chosen: {self.bandwidth:.3g}")
        if np.max(self.weights) < 1.0:
            height = self.weights / np.max(self.weights)
            foot = ax.get_xaxis_transform()
            ax.fill_between(self.grid, height, transform=foot, color="C3", alpha=0.15, linewidth=0.0, label="weight")
        ax.set_xscale("log")
        # Windows of a few points score so badly that the rest would look flat.
        least, middle = np.min(self.scores[finite]), np.median(self.scores[finite])
        if middle > least:
            ax.set_ylim(least - 0.3 * (middle - least), least + 4.0 * (middle - least))
        ax.set_xlabel(f"bandwidth ({self.kernel}, degree {self.degree})")
        ax.set_ylabel(f"score ({self.method}), lower is better")
        ax.legend()
        return ax


def bandwidth_methods() -> list[str]:
    """Names of the methods of `select_bandwidth`.

    Returns
    -------
    list of str
        In the order of registration.
    """
    return list(CRITERIA)


def select_bandwidth(
    x: ArrayLike,
    y: ArrayLike,
    method: BandwidthMethod | None = None,
    kernel: KernelName | Kernel = "epanechnikov",
    degree: Literal[0, 1, 2] = 0,
    *,
    sided: Literal["two", "past"] = "two",
    grid: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    empty: Literal["nan", "nearest"] = "nan",
    refine: bool = False,
) -> BandwidthSelection:
    """Choose the bandwidth of a kernel regression.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, 1)
        Points; the unit of dates and durations is the second.
    y : array_like, shape (n,)
        Responses; binary ones are scored by squared error too.
    method : str, optional
        By default ``"averaged"``, for quadratics ``"aicc"``, and ``"one-step-ahead"`` where ``sided="past"``; the
        notes say which suits what.
        ``"averaged"`` weighs all candidates by AICc and by their distance from a reference bandwidth, and takes their
        geometric mean. ``"one-step-ahead"`` minimises the squared error of predictions from strictly earlier points,
        and implies ``sided="past"``. ``"loo-cv"`` minimises the leave-one-out squared error;
        ``"leave-one-step-out"`` predicts each observation without all those at its x; ``"gcv"`` [3] and ``"aicc"`` [4]
        minimise penalised residuals; ``"lepski"`` compares each fit with all less smooth ones [5];
        ``"rule-of-thumb"`` and ``"plug-in"`` minimise the first-order mean squared error of `kvar.theory` with pilot
        estimates [1, 2].
    kernel : str or Kernel
        The weight function.
    degree : {0, 1, 2}
        Local mean, line or quadratic; ``"averaged"``, ``"rule-of-thumb"`` and ``"plug-in"`` know no quadratics.
    sided : {"two", "past"}
        As in `KernelRegressor`; ``"averaged"``, ``"gcv"`` and ``"aicc"`` need ``"two"``.
    grid : array_like, shape (g,), optional
        Candidates. By default 50 of constant ratio, from the least that serves every scored observation that does not
        stand apart (with ``empty="nearest"``: half of them) up to the range.
    groups : array_like, shape (n,), optional
        Series of each observation, such as its prompt: one bandwidth for all, windows within a series. Not for
        ``"rule-of-thumb"`` and ``"plug-in"``, which describe one curve.
    sample_weight : array_like, shape (n,), optional
        Weights, which count observations under all methods but ``"loo-cv"``, ``"leave-one-step-out"`` and
        ``"one-step-ahead"``; an observation of weight zero is dropped.
    empty : {"nan", "nearest"}
        What the estimator does in an empty window. ``"nan"`` rejects a candidate that leaves some scored observation
        without another one in its window, under all methods but ``"rule-of-thumb"`` and ``"plug-in"``, which look at
        no window. ``"nearest"`` scores the answer that `KernelRegressor` gives there. Observations that stand apart,
        with neighbours more than ten times as far away as those of the median one, such as the first after a pause,
        reject no candidate and are scored like that in either case. The Gaussian and the exponential kernel have no
        empty windows and reject nothing.
    refine : bool
        Look for the least score between the two candidates next to the best one, to a thousandth of the bandwidth.
        Not for ``"averaged"``, which lies between candidates anyway, and ``"lepski"``, which compares them.

    Returns
    -------
    BandwidthSelection
        The choice, with the scores. Cost: one sort, then O(n) per candidate for the compact kernels.

    Raises
    ------
    ValueError
        For data or parameters out of range, fewer observations than the method needs, or if every candidate is
        rejected.

    Warns
    -----
    UserWarning
        If the least score is that of the first or the last admissible candidate, or the choice follows from a single
        observation; `at_edge` of the result says so too.

    Notes
    -----
    Which method: a minimiser follows the noise of its criterion. ``"averaged"`` follows it less, has the least error
    over many curves and is the default. Its weights are ``exp(-n score / 4)`` [6]. Its reference is the bandwidth that
    is best, to first order, where one wave spans the range with as much variance as the noise; it is trusted within a
    factor of six. ``"one-step-ahead"`` is a less noisy criterion and is minimised. ``"loo-cv"`` assumes least: use it
    for many observations, for weights that are no counts, and to compare with other programs. Where several
    observations share an x and more than the value there, such as the rollouts of a step, they predict each other and
    ``"loo-cv"`` takes too narrow a window; ``"leave-one-step-out"`` does not. ``"plug-in"`` suits
    smooth curves with many observations and little noise, ``"rule-of-thumb"`` curves about as simple as a quartic;
    ``"lepski"`` guards against bias.

    Observations whose series has fewer than ``degree + 1`` other (earlier) points are not scored. All others count
    under every candidate, so that small windows cannot win by skipping the hard ones.

    Of candidates with equal scores the widest is taken, as where all responses are equal.

    References
    ----------
    [1] Fan and Gijbels (1996), Local Polynomial Modelling and Its Applications, section 4.2.
    [2] Ruppert, Sheather and Wand (1995), Journal of the American Statistical Association 90, 1257-1270.
    [3] Craven and Wahba (1979), Numerische Mathematik 31, 377-403.
    [4] Hurvich, Simonoff and Tsai (1998), Journal of the Royal Statistical Society B 60, 271-293.
    [5] Goldenshluger and Lepski (2011), Annals of Statistics 39, 1608-1632.
    [6] Leung and Barron (2006), IEEE Transactions on Information Theory 52, 3396-3410.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0.0, 1.0, 200)
    >>> y = np.sin(6.0 * x) + 0.3 * np.random.default_rng(0).standard_normal(200)
    >>> chosen = select_bandwidth(x, y, degree=1)
    >>> round(chosen.bandwidth, 2), chosen.grid.size
    (0.07, 50)
    >>> round(select_bandwidth(x, y, "loo-cv", degree=1).bandwidth, 2)
    0.05
    """
    kernel = get_kernel(kernel)
    require_choice("sided", sided, ("two", "past"))
    require_choice("degree", degree, (0, 1, 2))
    if method is None:
        method = "one-step-ahead" if sided == "past" else "averaged" if degree < 2 else "aicc"
    require_choice("method", method, tuple(CRITERIA))
    require_choice("empty", empty, ("nan", "nearest"))
    require_flags(refine=refine)
    if method == "one-step-ahead":
        sided = "past"
    past = sided == "past"
    criterion = CRITERIA[method]
    if past and not criterion.looks_back:
        raise ValueError(f'{method} scores fits that use their own response; with sided="past" use one-step-ahead')
    if kernel.one_sided and not past:
        raise ValueError(f'the {kernel.name} kernel looks back only; use sided="past"')
    if groups is not None and not criterion.pools:
        raise ValueError(f"{method} describes one curve; for groups use averaged or loo-cv")
    if degree == 2 and not criterion.quadratics:
        raise ValueError(f"{method} knows no local quadratics; at degree 2 use loo-cv or aicc")
    if refine and not criterion.continuous:
        raise ValueError(f"{method} has no least score between its candidates; refine loo-cv, for one")
    problem = Problem.build(
        x, y, sample_weight, groups, kernel=kernel, degree=degree, past=past, empty=empty,
        whole_step=criterion.whole_step,
    )  # fmt: skip
    if criterion.counts:
        check_counts(problem.weight, degree + 3)
    scaled = default_grid(problem) if grid is None else given_grid(grid) / problem.x_unit
    scores, lonely = criterion.score(problem, scaled)
    scores = np.where(np.isnan(scores), math.inf, scores)
    candidates = scaled * problem.x_unit
    admissible = np.flatnonzero(np.isfinite(scores))
    if admissible.size == 0:
        alone = np.all(lonely > 0) and np.any(problem.required)
        lack = "some observation without a neighbour" if alone else "no degrees of freedom"
        raise ValueError(f"every bandwidth leaves {lack}, up to {candidates[-1]:.4g}; widen the grid")
    best = least(scores)
    weights = criterion.weigh(problem, scores)
    # The geometric mean, relative to the best candidate: where that has all the weight it comes out to the last bit.
    bandwidth = float(candidates[best] * np.exp(np.sum(weights * np.log(candidates / candidates[best]))))
    if refine:
        bandwidth = _refined(criterion, problem, scaled, scores, best) * problem.x_unit
    forced = problem.forced_by_one * problem.x_unit
    warning = ""
    if not np.any(problem.y):
        pass  # every window fits equal responses exactly
    elif best in (admissible[0], admissible[-1]):
        end = "lower" if best == admissible[0] else "upper"
        warning = (
            f"the least score, at bandwidth {candidates[best]:.4g}, lies at the {end} end of the admissible grid; a"
            " better one may be outside"
        )
    elif bandwidth < 2.0 * forced:
        warning = (
            f"a single observation has no neighbour within {forced:.4g} and forces the bandwidth, {bandwidth:.4g};"
            ' leave it out, or pass empty="nearest"'
        )
    if warning:
        warnings.warn(warning, UserWarning, stacklevel=2)
    scores = criterion.in_units(scores, problem.y_unit)
    return BandwidthSelection(
        bandwidth, candidates, scores, weights, lonely, bool(warning), int(np.count_nonzero(problem.scored)),
        method, kernel.name, sided, degree,
    )  # fmt: skip


def _refined(criterion, problem, grid, scores, best):
    """The bandwidth of least score between the candidates on either side of the best one; that one if none has less."""
    from scipy.optimize import minimize_scalar  # slow to import

    def score(log_h):
        found = float(criterion.score(problem, np.exp([log_h]))[0][0])
        return found if np.isfinite(found) else 1e300  # a rejected bandwidth, which no parabola should pass through

    ends = np.log(grid[[max(best - 1, 0), min(best + 1, grid.size - 1)]])
    found = minimize_scalar(score, bounds=ends, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x)) if found.fun < scores[best] else float(grid[best])
