"""Theorem 1 and corollary 1: bias, variance and rate of the kernel estimate of a value (arXiv 2604.28005)."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from kvar import make_baseline, theory
from simulations.bandit.one_prompt import course, kernel_value
from simulations.bandit.rewards import BinaryRewards
from simulations.bandit.value_paths import Parabola, Zigzag
from simulations.harness import figures
from simulations.harness.statistics import Claim, log_slope, mean_of
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of, sample, summary

__all__ = ["ValueRates", "ValueRatesConfig"]

_NOISE = 0.25
_GROUP = 2
_PATHS = {"Lipschitz": Zigzag(), "smooth": Parabola()}
_COURSE = {
    "none": ("none", {}),
    "group-mean": ("group-mean", {}),
    "leave-one-out": ("leave-one-out", {}),
    "discounted-beta": ("discounted-beta", {"include_own": False}),
    "kernel": ("kernel", {}),
}


@dataclass(frozen=True)
class ValueRatesConfig(StudyConfig):
    """Size of the study."""

    # Lengths in steps of the runs that the rate is fitted to; two rollouts per step.
    lengths: tuple[int, ...] = (300, 600, 1200, 2400, 4800, 9600, 19200)
    # Steps i of the cells (i, h) in which bias and variance are compared with theory.
    steps: tuple[int, ...] = (500, 2000, 8000)
    windows: tuple[float, ...] = (0.03, 0.06, 0.12, 0.24)  # Windows h of these cells, as fractions of the run
    course_steps: int = 10_000  # Length of the run whose value MSE is recorded at each step


def best_window(path: str, n: int) -> float:
    """The best window at the end of a path by theory, as a fraction of the run."""
    if path == "Lipschitz":
        return theory.lipschitz_bandwidth("triangular", n=n, noise=_NOISE, lipschitz=_PATHS[path].slope)
    curvature = _PATHS[path].curvature
    return theory.optimal_bandwidth("triangular", 1, n=n, noise=_NOISE, curvature=curvature, boundary=True)


class ValueRates(Study):
    """Value MSE over the number of rewards, and bias and variance over the window.

    A run of N steps has the value ``m(j / N)`` at step j, on a Lipschitz path with slope 1/2 or a smooth one, and
    ends at 1/2. The value of the last step is estimated from two binary rewards per step. `group-mean` and
    `batch-mean` use the last step only; the latter averages over this prompt and 15 others of various difficulty.
    """

    name: ClassVar[str] = "value-rates"
    title: ClassVar[str] = "How fast does the value error fall with the number of rewards? (T1, C1)"
    full: ClassVar[ValueRatesConfig] = ValueRatesConfig(repetitions=4000, block=1000)
    quick: ClassVar[ValueRatesConfig] = ValueRatesConfig(
        repetitions=1000, block=500, lengths=(300, 600, 1200, 2400, 4800), steps=(500, 2000), course_steps=1000
    )

    def cells(self):
        config = self.config
        # The random streams depend on the names in a cell: another one for "share", the window, changes all numbers.
        cells = [{"kind": "rate", "path": p, "steps": n, "share": 0.0} for p in _PATHS for n in config.lengths]
        cells += [
            {"kind": "window", "path": "Lipschitz", "steps": i, "share": h}
            for i in config.steps
            for h in config.windows
        ]
        return [*cells, {"kind": "course", "path": "Lipschitz", "steps": config.course_steps, "share": 0.0}]

    def simulate(self, cell, repetitions, rng):
        path, steps, law = _PATHS[cell["path"]], cell["steps"], BinaryRewards()
        if cell["kind"] == "course":
            errors = course(path, law, steps, _GROUP, _COURSE, repetitions, rng)
            # Each row has the mean over the block at one step, and the variance of this mean.
            at = np.unique(np.geomspace(1, steps, 200).astype(int))
            return {
                "repetition": np.zeros(len(at) * len(errors), dtype=int),
                "baseline": np.repeat(list(errors), len(at)),
                "step": np.tile(at, len(errors)),
                "error": np.concatenate([mean[at - 1] for mean, _ in errors.values()]),
                "variance": np.concatenate([error[at - 1] ** 2 for _, error in errors.values()]),
            }
        window = cell["share"] or best_window(cell["path"], _GROUP * steps)
        degree = 1 if cell["path"] == "smooth" else 0
        estimates = {"kernel": kernel_value(path, law, steps, window, _GROUP, repetitions, rng, degree=degree)}
        if cell["kind"] == "rate" and cell["path"] == "Lipschitz":
            estimates |= _last_step_only(law, repetitions, rng)
        return {
            "repetition": np.tile(np.arange(repetitions), len(estimates)),
            "baseline": np.repeat(list(estimates), repetitions),
            "step": np.full(len(estimates) * repetitions, steps),
            "error": np.concatenate(list(estimates.values())) - 0.5,
        }

    def tables(self, rows):
        rate = rows.filter(kind="rate").with_columns(square=pl.col("error") ** 2)
        mse = summary(rate, ["path", "baseline", "steps"], ["square"]).rename(
            {"square": "value_mse", "square_se": "value_mse_se"}
        )
        mse = mse.with_columns(
            rewards=_GROUP * pl.col("steps"),
            theory=pl.struct("path", "baseline", "steps").map_elements(_theory_mse, return_dtype=pl.Float64),
        )
        slopes = []
        for (path, baseline), group in rate.group_by(["path", "baseline"], maintain_order=True):
            lengths = sorted(group["steps"].unique())
            fit = log_slope(lengths, [sample(group, "square", steps=n) for n in lengths])
            slopes.append(row_of(fit, path=path, baseline=baseline))
        windows = [
            _window_row(group)
            for _, group in rows.filter(kind="window").group_by(["steps", "share"], maintain_order=True)
        ]
        by_step = rows.filter(kind="course").group_by(["baseline", "step"], maintain_order=True)
        followed = by_step.agg(
            pl.col("error").mean().alias("value_mse"),
            (pl.col("variance").sum().sqrt() / pl.len()).alias("value_mse_se"),
            (pl.len() * self.config.block).alias("repetitions"),
        )
        return {"mse": mse, "slopes": pl.DataFrame(slopes), "windows": pl.DataFrame(windows), "course": followed}

    def claims(self, tables):
        slopes = {(row["path"], row["baseline"]): estimate_of(row) for row in tables["slopes"].iter_rows(named=True)}
        rate = "log-log slope of the value MSE"
        claims = [
            Claim.covers(
                f"{rate} of kernel, Lipschitz path, window of order N^(-1/3)",
                slopes["Lipschitz", "kernel"],
                -2 / 3,
                0.03,
            ),
            Claim.covers(
                f"{rate} of kernel with local lines, smooth path, window of order N^(-1/5)",
                slopes["smooth", "kernel"],
                -4 / 5,
                0.03,
            ),
        ]
        claims += [
            Claim.covers(f"{rate} of {name}, which uses the last step only: flat", slopes["Lipschitz", name], 0.0, 0.03)
            for name in ("group-mean", "batch-mean")
        ]
        deviations = np.abs(np.concatenate([tables["windows"][f"{part}_deviation"] for part in ("bias", "variance")]))
        text = "bias and variance within three standard errors of theory, fraction of the (i, h) cells"
        return [*claims, Claim.fraction(text, int((deviations <= 3).sum()), len(deviations), 0.9)]

    def pictures(self, tables):
        return {"rates": _rates_picture(tables), "course": _course_picture(tables["course"])}

    def remarks(self, tables):
        mse = tables["mse"].filter(path="Lipschitz")
        last = mse.filter(steps=mse["steps"].max())
        kernel, group, batch = (
            float(last.filter(baseline=b)["value_mse"][0]) for b in ("kernel", "group-mean", "batch-mean")
        )
        seen = last["rewards"][0]
        return [
            (
                f"After {seen:,} rewards the value MSE of kernel is {kernel:.2g}, of group-mean {group:.2g}, of "
                f"batch-mean {batch:.2g}; the last two use the last step only and do not improve with more rewards."
            )
        ]


def _last_step_only(law, repetitions, rng) -> dict[str, np.ndarray]:
    """Estimates from the last step only: the mean of the group, and that of the batch with 15 other prompts."""
    values = np.concatenate([np.full((repetitions, 1), 0.5), rng.uniform(0.1, 0.9, (repetitions, 15))], axis=1)
    rewards = law.sample(np.repeat(values[..., None], _GROUP, axis=2), rng)
    means = {name: make_baseline(name) for name in ("group-mean", "batch-mean")}
    ids = np.arange(16)
    return {
        name: np.array([baseline.estimate(ids, batch, 1)[0, 0] for batch in rewards])
        for name, baseline in means.items()
    }


def _theory_mse(row) -> float | None:
    if row["baseline"] == "group-mean":
        return _NOISE / _GROUP
    if row["baseline"] != "kernel":
        return None
    n = _GROUP * row["steps"]
    h = best_window(row["path"], n)
    if row["path"] == "Lipschitz":
        return theory.lipschitz_mse("triangular", h, n=n, noise=_NOISE, lipschitz=_PATHS["Lipschitz"].slope)
    curvature = _PATHS["smooth"].curvature
    return theory.asymptotic_mse("triangular", 1, h, n=n, noise=_NOISE, curvature=curvature, boundary=True)


def _window_row(group) -> dict:
    """Bias and variance of one cell by simulation and by theory, and their deviation in standard errors."""
    errors = group["error"].to_numpy()
    steps, h = int(group["steps"][0]), float(group["share"][0])
    bias = mean_of(errors)
    squares = (errors - errors.mean()) ** 2 * len(errors) / (len(errors) - 1)
    variance = mean_of(squares)
    # The window looks back, so that the slope enters with a minus sign.
    bias_theory = theory.asymptotic_bias("triangular", 0, h, slope=-_PATHS["Lipschitz"].slope, boundary=True)
    variance_theory = theory.asymptotic_variance("triangular", 0, h, n=_GROUP * steps, noise=_NOISE, boundary=True)
    return {
        "steps": steps,
        "window": h,
        "bias": bias.value,
        "bias_se": bias.standard_error,
        "bias_theory": bias_theory,
        "bias_deviation": (bias.value - bias_theory) / bias.standard_error,
        "variance": variance.value,
        "variance_se": variance.standard_error,
        "variance_theory": variance_theory,
        "variance_deviation": (variance.value - variance_theory) / variance.standard_error,
        "repetitions": len(errors),
    }


def _rates_picture(tables):
    figure, (left, right) = figures.panels(2)
    labels = {("Lipschitz", "kernel"): "kernel, Lipschitz path", ("smooth", "kernel"): "local lines, smooth path"}
    for (path, baseline), group in tables["mse"].group_by(["path", "baseline"], maintain_order=True):
        style = figures.line(baseline if path == "Lipschitz" else "discounted-beta")
        left.errorbar(
            group["rewards"], group["value_mse"], 2 * group["value_mse_se"], **{**style, "linestyle": "none"},
            label=labels.get((path, baseline), baseline),
        )  # fmt: skip
        if group["theory"].is_not_null().all():
            left.plot(group["rewards"], group["theory"], ":", color=style["color"])
    left.set(xscale="log", yscale="log", xlabel="rewards seen, N", ylabel="value MSE")
    left.set_title("dots simulated, dotted lines theory", fontsize="medium")
    for rank, (_, group) in enumerate(tables["windows"].group_by("steps", maintain_order=True)):
        colour = f"C{rank}"
        steps = group["steps"][0]
        right.errorbar(
            group["window"],
            group["variance"],
            2 * group["variance_se"],
            fmt="o",
            color=colour,
            markersize=3,
            label=f"variance, i = {steps:,}",
        )
        right.plot(group["window"], group["variance_theory"], ":", color=colour)
    bias = tables["windows"].filter(steps=tables["windows"]["steps"].max())
    right.plot(bias["window"], bias["bias"] ** 2, "s", color="black", markersize=4, label="squared bias")
    right.plot(bias["window"], bias["bias_theory"] ** 2, ":", color="black")
    right.set(xscale="log", yscale="log", xlabel="window h, fraction of the run")
    figures.ticks(right, tables["windows"]["window"].unique(maintain_order=True).to_list())
    for axes in (left, right):
        axes.legend(frameon=False, fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    return figure


def _course_picture(course_table):
    figure, (axes,) = figures.panels(1)
    for (name,), group in course_table.group_by(["baseline"], maintain_order=True):
        axes.plot(group["step"], group["value_mse"], markevery=0.15, **figures.line(name), label=name)
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="value MSE")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure
