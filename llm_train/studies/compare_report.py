"""What came of a comparison: a table with intervals over seeds, and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from scipy import stats

from kvar import plotting
from kvar.utils.atomic_files import atomic_write
from llm_train.run.run_files import read_metrics

__all__ = ["MethodRow", "mean_interval", "pairs", "report", "rollouts_to_reach", "rows"]

_RESAMPLES = 2000


@dataclass(frozen=True)
class MethodRow:
    """One method of a comparison. Intervals are 95 %, as mean, lower and upper end.

    Attributes
    ----------
    label : str
        Of the method.
    learning_rate : float
        Chosen for it.
    n_seeds : int
        Runs behind the row.
    start, final, train : tuple of float
        The measure before training and after it, and after it on the training prompts; NaN where it was not measured.
    average : tuple of float
        Mean of the measure over the whole of training.
    difference : tuple of float
        Final measure minus the reference's, paired over seeds.
    rollouts : tuple of float
        Rollouts to reach the reference's final measure, as a share of what the reference used; infinite if not reached.
        Interval by resampling seeds.
    fell : int
        Runs that ended below where they started, or below half of their own best.
    """

    label: str
    learning_rate: float
    n_seeds: int
    start: tuple[float, float, float]
    final: tuple[float, float, float]
    train: tuple[float, float, float]
    average: tuple[float, float, float]
    difference: tuple[float, float, float]
    rollouts: tuple[float, float, float]
    fell: int


def mean_interval(numbers) -> tuple[float, float, float]:
    """Mean with its 95 % interval by Student's t."""
    numbers = np.asarray(numbers, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers)))
    return mean, mean - half, mean + half


def rollouts_to_reach(rollouts: np.ndarray, curve: np.ndarray, level: float) -> float:
    """When a curve first reaches a level, by linear interpolation.

    Examples
    --------
    >>> rollouts_to_reach(np.array([0.0, 100.0, 200.0]), np.array([0.1, 0.2, 0.4]), 0.3)
    150.0
    """
    above = np.flatnonzero(curve >= level)
    if not above.size:
        return float("inf")
    k = above[0]
    if k == 0:
        return float(rollouts[0])
    share = (level - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(rollouts[k - 1] + share * (rollouts[k] - rollouts[k - 1]))


def rows(
    curves: Mapping[str, np.ndarray],
    trained: Mapping[str, np.ndarray],
    rollouts: Mapping[str, np.ndarray],
    reference: str,
    rates: Mapping[str, float],
) -> list[MethodRow]:
    """Judge every method."""
    found = []
    for label, curve in curves.items():
        final = curve[:, -1]
        found.append(
            MethodRow(
                label=label,
                learning_rate=rates[label],
                n_seeds=len(curve),
                start=mean_interval(curve[:, 0]),
                final=mean_interval(final),
                train=mean_interval(trained[label]),
                average=mean_interval(curve.mean(axis=1)),
                difference=mean_interval(final - curves[reference][:, -1]),
                rollouts=_share_to_reach(rollouts[label], curve, curves[reference][:, -1]),
                fell=int(((final < curve[:, 0]) | (final < curve.max(axis=1) / 2)).sum()),
            )
        )
    return sorted(found, key=lambda row: -row.final[0])


def _share_to_reach(rollouts, curve, target) -> tuple[float, float, float]:
    """Rollouts until the mean curve reaches the mean target, as a share of all; the interval resamples seeds."""
    everything = np.arange(len(target))
    draws = np.random.default_rng(0).integers(len(target), size=(_RESAMPLES, len(target)))
    shares = [
        rollouts_to_reach(rollouts, curve[seeds].mean(axis=0), target[seeds].mean()) / rollouts[-1]
        for seeds in (everything, *draws)
    ]
    low, high = np.quantile(shares[1:], [0.025, 0.975], method="nearest")
    return float(shares[0]), float(low), float(high)


def pairs(curves: Mapping[str, np.ndarray], rollouts: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Every method against every other one, paired over seeds."""
    found = []
    for method, curve in curves.items():
        for against, other in curves.items():
            if method != against:
                level = other[:, -1].mean()
                ratio = curve[:, -1].mean() / level
                measured = {
                    "difference": mean_interval(curve[:, -1] - other[:, -1]),
                    # The deviation is that of a ratio, since the other's mean is measured too (Cochran 1977, 6.4).
                    "relative": mean_interval(ratio - 1 + (curve[:, -1] - ratio * other[:, -1]) / level),
                    "rollouts": _share_to_reach(rollouts[method], curve, other[:, -1]),
                }
                columns = {
                    f"{name}{end}": number
                    for name, numbers in measured.items()
                    for end, number in zip(("", "_low", "_high"), numbers, strict=True)
                }
                found.append({"method": method, "against": against, **columns})
    return pl.DataFrame(found)


def _read(comparison, chosen):
    curves, trained, rollouts = {}, {}, {}
    # Only exact values are computed on the training prompts too.
    train_measure = comparison.measure.replace("held_out", "train") if "held_out" in comparison.measure else ""
    for label in comparison.methods:
        measured, on_train = [], []
        for seed in range(comparison.seeds):
            folder = comparison.run_folder(label, chosen[label], seed)
            entries = [e for e in read_metrics(folder / "metrics.jsonl") if comparison.measure in e]
            measured.append([e[comparison.measure] for e in entries])
            found = np.array([e["rollouts"] for e in entries], dtype=np.float64)
            if not np.array_equal(found, rollouts.setdefault(label, found)):
                raise ValueError(f"{folder} was measured after other numbers of rollouts than the runs before it")
            on_train.append(json.loads((folder / "result.json").read_text()).get(train_measure, float("nan")))
        curves[label], trained[label] = np.array(measured), np.array(on_train)
    return curves, trained, rollouts


def report(comparison, chosen: Mapping[str, float]) -> str:
    """Write ``table.md``, ``table.json``, ``pairs.csv``, ``curves.csv`` and ``curves.png``."""
    curves, trained, rollouts = _read(comparison, chosen)
    found = rows(curves, trained, rollouts, comparison.reference, chosen)
    table = _markdown(found, comparison, rollouts[comparison.reference][-1])
    with atomic_write(comparison.folder / "table.md") as temporary:
        temporary.write_text(table)
    with atomic_write(comparison.folder / "table.json") as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")
    with atomic_write(comparison.folder / "pairs.csv") as temporary:
        pairs(curves, rollouts).write_csv(temporary, float_precision=5)
    measured = [
        {"method": label, "seed": seed, "rollouts": int(n), comparison.measure: value}
        for label, curve in curves.items()
        for seed, row in enumerate(curve.tolist())
        for n, value in zip(rollouts[label], row, strict=True)
    ]
    with atomic_write(comparison.folder / "curves.csv") as temporary:
        pl.DataFrame(measured).write_csv(temporary, float_precision=5)
    plotting.save(_picture(found, curves, rollouts, comparison.measure), comparison.folder / "curves.png")
    return table


def _markdown(found, comparison, whole) -> str:
    def interval(numbers):
        mean, low, high = numbers
        if np.isnan(mean):
            return ""
        return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} ± {(high - low) / 2:.3f}"

    def ratio(numbers):
        value, low, high = ("more" if np.isinf(n) else f"{n:.2f}" for n in numbers)
        return f"{value} ({low} to {high})" if np.isfinite(numbers[0]) else "not reached"

    edges = (
        {min(comparison.learning_rates), max(comparison.learning_rates)}
        if len(comparison.learning_rates) > 1
        else set()
    )
    title = (
        f"{comparison.measure.removeprefix('eval_')} after {whole:,.0f} rollouts, {found[0].n_seeds} seeds; ± is half "
        f"of the 95 % interval over seeds, differences are paired over seeds. Start: {interval(found[0].start)}."
    )
    columns = (
        "method", "learning rate", "held out", "training prompts", "mean over training",
        f"against {comparison.reference}", "rollouts to reach it, share", "fell",
    )  # fmt: skip
    lines = [title, "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in found:
        edge = "*" if row.learning_rate in edges else ""
        cells = (
            row.label, f"{row.learning_rate:g}{edge}", interval(row.final), interval(row.train), interval(row.average),
            "" if row.label == comparison.reference else interval(row.difference), ratio(row.rollouts),
            f"{row.fell} of {row.n_seeds}",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if edges:
        lines += ["", "\\* an end of the grid of learning rates."]
    return "\n".join(lines) + "\n"


def _picture(found, curves, rollouts, measure):
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.5 + 0.35 * max(len(found), 9)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for k, row in enumerate(found):
        colour = colormaps["turbo"](0.05 + 0.9 * k / max(len(found) - 1, 1))
        middle, low, high = zip(*map(mean_interval, curves[row.label].T), strict=True)
        left.plot(rollouts[row.label], middle, color=colour, linewidth=1.5)
        left.fill_between(rollouts[row.label], low, high, color=colour, alpha=0.12, linewidth=0)
        right.plot(row.final[1:], (-k, -k), color=colour, linewidth=2)
        right.plot(row.final[0], -k, "o", color=colour)
    right.set_yticks([-k for k in range(len(found))], [row.label for row in found])
    left.set_xlabel("rollouts")
    left.set_ylabel(measure.removeprefix("eval_").replace("_", " "))
    right.set_xlabel("at the end, 95 % interval over seeds")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure
