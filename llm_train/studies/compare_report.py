"""Results of a comparison: a table with intervals over seeds, and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from kvar import plotting
from kvar.intervals import mean_interval
from kvar.utils.atomic_files import atomic_write, atomic_write_text
from kvar.utils.crossings import first_crossing
from kvar.utils.markdown import markdown_table
from llm_train.studies.finished_runs import read_finished

__all__ = ["MethodRow", "pairs", "report", "rows", "write_table"]

_RESAMPLES = 2000


@dataclass(frozen=True)
class MethodRow:
    """One method of a comparison. A tuple holds a mean with the lower and upper end of its 95 % interval."""

    label: str  # Name of the method
    learning_rate: float  # The chosen learning rate
    n_seeds: int  # Number of runs
    # start, final, train: The measure before and after training, and after training on the training prompts; NaN where
    # not measured.
    start: tuple[float, float, float]
    final: tuple[float, float, float]
    train: tuple[float, float, float]
    average: tuple[float, float, float]  # Mean of the measure over training
    difference: tuple[float, float, float]  # Final measure minus that of the reference, paired by seed
    # Rollouts until the final measure of the reference is reached, as a fraction of all rollouts of a run; infinite if
    # it is not reached. The interval comes from resampling the seeds; one seed has none.
    rollouts: tuple[float, float, float]
    fell: int  # Runs that ended below their start or below half of their best
    noise: dict[str, float] = field(default_factory=dict)  # Means over the runs of `FinishedRun.noise`


def rows(
    curves: Mapping[str, np.ndarray],
    trained: Mapping[str, np.ndarray],
    rollouts: Mapping[str, np.ndarray],
    reference: str,
    rates: Mapping[str, float],
    noise: Mapping[str, Mapping[str, float]] | None = None,
) -> list[MethodRow]:
    """A row for each method, the best final measure first; curves have shape (seeds, evaluations)."""
    found = []
    for label, curve in curves.items():
        final = curve[:, -1]
        found.append(
            MethodRow(
                label=label,
                learning_rate=rates[label],
                n_seeds=len(curve),
                start=_interval(curve[:, 0]),
                final=_interval(final),
                train=_interval(trained[label]),
                average=_interval(curve.mean(axis=1)),
                difference=_interval(final - curves[reference][:, -1]),
                rollouts=_fraction_to_reach(rollouts[label], curve, curves[reference][:, -1]),
                fell=int(((final < curve[:, 0]) | (final < curve.max(axis=1) / 2)).sum()),
                noise=dict((noise or {}).get(label, {})),
            )
        )
    return sorted(found, key=lambda row: -row.final[0])


def _interval(numbers) -> tuple[float, float, float]:
    found = mean_interval(numbers)
    return found.mean, found.low, found.high


def _fraction_to_reach(rollouts, curve, target) -> tuple[float, float, float]:
    """Rollouts until the mean curve reaches the mean target, as a fraction of all, with an interval over seeds."""
    seeds = np.arange(len(target))
    draws = np.vstack([seeds, np.random.default_rng(0).integers(len(seeds), size=(_RESAMPLES, len(seeds)))])
    fractions = first_crossing(rollouts, curve[draws].mean(axis=1), target[draws].mean(axis=1)) / rollouts[-1]
    low, high = np.quantile(fractions[1:], [0.025, 0.975], method="nearest") if len(target) > 1 else (np.nan, np.nan)
    return float(fractions[0]), float(low), float(high)


def pairs(curves: Mapping[str, np.ndarray], rollouts: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Each method against each other one, paired by seed."""
    found = []
    for method, curve in curves.items():
        for against, other in curves.items():
            if method != against:
                level = other[:, -1].mean()
                ratio = curve[:, -1].mean() / level
                measured = {
                    "difference": _interval(curve[:, -1] - other[:, -1]),
                    # Standard error of a ratio, because the mean of the other is an estimate too (Cochran 1977, 6.4).
                    "relative": _interval(ratio - 1 + (curve[:, -1] - ratio * other[:, -1]) / level),
                    "rollouts": _fraction_to_reach(rollouts[method], curve, other[:, -1]),
                }
                columns = {
                    f"{name}{end}": number
                    for name, numbers in measured.items()
                    for end, number in zip(("", "_low", "_high"), numbers, strict=True)
                }
                found.append({"method": method, "against": against, **columns})
    return pl.DataFrame(found)


def _read(comparison, chosen):
    finished = read_finished(comparison.folder)
    curves, trained, rollouts, noise = {}, {}, {}, {}
    for label in comparison.methods:
        runs = [finished[label, chosen[label], seed] for seed in range(comparison.seeds)]
        if any(run.rollouts != runs[0].rollouts for run in runs):
            raise ValueError(
                f"runs of {label!r} were evaluated at different numbers of rollouts; use the same eval_steps"
            )
        rollouts[label] = np.array(runs[0].rollouts, dtype=np.float64)
        curves[label] = np.array([run.curve for run in runs])
        trained[label] = np.array([np.nan if run.train is None else run.train for run in runs])
        # Of runs that were kept before this was, nothing is known.
        names = set.intersection(*(set(run.noise) for run in runs))
        noise[label] = {name: float(np.mean([run.noise[name] for run in runs])) for name in sorted(names)}
    return curves, trained, rollouts, noise


def report(comparison, chosen: Mapping[str, float]) -> str:
    """Write ``table.json``, ``pairs.csv``, ``curves.csv``, ``curves.png`` and ``table.md``, and return the latter."""
    curves, trained, rollouts, noise = _read(comparison, chosen)
    found = rows(curves, trained, rollouts, comparison.reference, chosen, noise)
    atomic_write_text(comparison.folder / "table.json", json.dumps([asdict(row) for row in found], indent=2) + "\n")
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
    return write_table(comparison)


def write_table(comparison) -> str:
    """Write ``table.md`` from ``table.json``, ``pairs.csv`` and ``curves.csv``, and return it."""
    found = [MethodRow(**row) for row in json.loads((comparison.folder / "table.json").read_text())]
    reached = _reached(comparison.folder / "pairs.csv") if comparison.also_against else {}
    table = _markdown(found, reached, comparison, pl.read_csv(comparison.folder / "curves.csv")["rollouts"].max())
    atomic_write_text(comparison.folder / "table.md", table)
    return table


def _reached(path: Path) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Fraction of the rollouts until one method reaches the end of another one, with its interval."""
    return {
        (row["method"], row["against"]): tuple(float(row[f"rollouts{end}"]) for end in ("", "_low", "_high"))
        for row in pl.read_csv(path).iter_rows(named=True)
    }


def _markdown(found, reached, comparison, whole) -> str:
    def interval(numbers):
        mean, low, high = numbers
        if np.isnan(mean):
            return ""
        return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} ± {(high - low) / 2:.3f}"

    def ratio(numbers):
        value, low, high = ("more" if np.isinf(n) else f"{n:.2f}" for n in numbers)
        if not np.isfinite(numbers[0]):
            return "not reached"
        return value if np.isnan(numbers[1]) else f"{value} ({low} to {high})"

    several, tuned = len(comparison.learning_rates) > 1, comparison.folder / "learning_rates.json"
    # Grids grow where the best rate lies at an end.
    tried = json.loads(tuned.read_text()) if several and tuned.exists() else {}
    grids = {label: [float(rate) for rate in found["scores"]] for label, found in tried.items()}
    edges = {label: (min(rates), max(rates)) for label, rates in grids.items()}
    n = found[0].n_seeds
    title = (
        f"{comparison.measure.removeprefix('eval_')} after {whole:,.0f} rollouts, {n} seed{'s' * (n > 1)}. ± is half "
        f"of the 95 % interval over seeds. Differences are paired by seed. Start: {interval(found[0].start)}."
    )
    columns = (
        "method", "learning rate", "held out", "training prompts", "mean over training",
        f"against {comparison.reference}", "fraction of the rollouts to reach it",
        *(f"to reach {label}" for label in comparison.also_against), "fell",
    )  # fmt: skip
    lines = []
    for row in found:
        edge = "*" if row.learning_rate in edges.get(row.label, ()) else ""
        lines.append((
            row.label, f"{row.learning_rate:g}{edge}", interval(row.final), interval(row.train), interval(row.average),
            "" if row.label == comparison.reference else interval(row.difference), ratio(row.rollouts),
            *("" if row.label == label else ratio(reached[row.label, label]) for label in comparison.also_against),
            f"{row.fell} of {row.n_seeds}",
        ))  # fmt: skip
    note = "\n\\* an end of the grid of learning rates.\n" if any("*" in line[1] for line in lines) else ""
    return f"{title}\n\n{markdown_table(columns, lines)}\n{note}{_noise_table(found)}"


def _noise_table(found: list[MethodRow]) -> str:
    """What the noise of the gradients is made of, where the runs have logged it."""
    lines = []
    for row in found:
        if "signal" not in row.noise:
            continue
        part = {name: row.noise.get(name, np.nan) for name in ("signal", "noise", "prompt_part", "rollout_part")}
        # The estimate of a small signal may be below 0.
        scale = part["noise"] / part["signal"] if part["signal"] > 0 else np.inf
        of_prompts = part["prompt_part"] / (part["prompt_part"] + part["rollout_part"])
        norms = row.noise.get("squared_norm_right", np.nan) / row.noise.get("squared_norm_wrong", np.nan)
        cells = f"{scale:,.0f}", f"{of_prompts:.2f}", f"{norms:.2f}", f"{row.noise.get('entropy', np.nan):.2f}"
        lines.append((row.label, *("" if cell == "nan" else cell for cell in cells)))
    if not lines:
        return ""
    told = (
        "Means over training. The noise scale is the number of rollouts at which noise and signal of a gradient are "
        "equal. P / (P + R + D) is the part of the noise that prompts bring, known for groups. W1 / W0 is the mean "
        "squared score norm of right rollouts over that of wrong ones, where the run has norms."
    )
    columns = ("method", "noise scale", "P / (P + R + D)", "W1 / W0", "entropy")
    return f"\n{told}\n\n{markdown_table(columns, lines)}\n"


def _picture(found, curves, rollouts, measure):
    from matplotlib import colormaps

    figure, (left, right) = plotting.new_figure(11, 1.5 + 0.35 * max(len(found), 9), widths=(3, 2), grid=True)
    for k, row in enumerate(found):
        colour = colormaps["turbo"](0.05 + 0.9 * k / max(len(found) - 1, 1))
        mean, low, high = zip(*map(_interval, curves[row.label].T), strict=True)
        left.plot(rollouts[row.label], mean, color=colour, linewidth=1.5)
        left.fill_between(rollouts[row.label], low, high, color=colour, alpha=0.12, linewidth=0)
        right.plot(row.final[1:], (-k, -k), color=colour, linewidth=2)
        right.plot(row.final[0], -k, "o", color=colour)
    right.set_yticks([-k for k in range(len(found))], [row.label for row in found])
    left.set_xlabel("rollouts")
    left.set_ylabel(measure.removeprefix("eval_").replace("_", " "))
    right.set_xlabel("at the end, 95 % interval over seeds")
    return figure
