"""What the confidence bands of kernel regression cover: rates near 0 and 1, other noise, few points, and curves."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

import kvar
from kvar.intervals import rate_limits
from kvar.kernels import get_kernel
from simulations.harness import figures
from simulations.harness.statistics import Claim
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import summary

__all__ = ["Coverage", "CoverageConfig"]

_CURVES: dict[str, Callable] = {
    "flat": np.zeros_like,
    "sine": lambda x: np.sin(4.0 * math.pi * x),
    "peak": lambda x: 2.0 * x - 1.0 + 2.0 * np.exp(-((16.0 * (x - 0.5)) ** 2)),
    "kink": lambda x: 3.0 * np.abs(x - 0.4) - 1.0,
}
_NOISES: dict[str, Callable] = {
    "gaussian": lambda x, rng: 0.5 * rng.standard_normal(x.size),
    "heteroscedastic": lambda x, rng: (0.2 + x) * rng.standard_normal(x.size),
    "t3": lambda x, rng: 0.5 * rng.standard_t(3, x.size),
    "beta": lambda x, rng: rng.beta(0.5, 4.5, x.size) - 0.1,
}
_KERNEL, _PAST_KERNEL = "epanechnikov", "triangular"
_ROLLOUTS = 4  # of a step, looking back
_TARGETS = 50  # of a simultaneous band
_SAMPLES = 20  # of a repetition, where the bandwidth of a rate is fixed


@dataclass(frozen=True)
class CoverageConfig(StudyConfig):
    """Size of the study."""

    rates: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 0.9, 0.99)  # True rates of flat curves
    n: tuple[int, ...] = (50, 200, 1000)  # Observations
    small_n: tuple[int, ...] = (3, 5, 8, 12, 20)  # Observations with Gaussian noise, bandwidth 0.7
    bandwidth: float = 0.25  # The fixed bandwidth, as a fraction of the range
    steps: float = 10.0  # The fixed bandwidth looking back, in steps


class Coverage(Study):
    """How often the 95 % bands of `KernelRegressor` contain the true curve.

    Rates and flat curves: at even x with the Epanechnikov kernel, at an end and in the middle of the range; looking
    back, with four rollouts a step and the triangular kernel, after the last step and in the middle of the run. The
    bandwidth is fixed (a quarter of the range, 10 steps; a repetition is then 20 samples), or that of
    ``select_bandwidth``. Other noise: Gaussian,
    heteroscedastic with standard deviation 0.2 + x and ``noise="local"``, Student's t with 3 degrees of freedom, and
    the beta distribution of mean 0.1 with ``bounds``, at fixed bandwidth. Curves: random x, Gaussian noise of standard
    deviation 0.5, selected bandwidth; the band as it is, and bias-corrected. The peak has its top in the middle. The
    kink is reported where it bends, too: there no polynomial is right. Simultaneous bands are tried at 50 points.
    """

    name: ClassVar[str] = "coverage"
    title: ClassVar[str] = "What do the confidence bands cover?"
    full: ClassVar[CoverageConfig] = CoverageConfig(repetitions=600, block=100)
    quick: ClassVar[CoverageConfig] = CoverageConfig(
        repetitions=40, block=20, rates=(0.02, 0.5), n=(50, 200), small_n=(5,)
    )

    def cells(self):
        config = self.config
        rates = [
            {"part": "rates", "bandwidth": bandwidth, "design": design, "n": n, "p": p}
            for bandwidth in ("fixed", "selected") for design in ("two-sided", "past-only")
            for n in config.n for p in config.rates
        ]  # fmt: skip
        noises = [
            {"part": "noise", "bandwidth": "fixed", "noise": noise, "n": n} for noise in _NOISES for n in config.n
        ]
        small = [{"part": "small", "bandwidth": "fixed", "n": n} for n in config.small_n]
        curves = [
            {"part": "curves", "bandwidth": "selected", "curve": curve, "design": design, "degree": degree, "n": n}
            for curve in list(_CURVES)[1:] for design in ("two-sided", "past-only") for degree in (0, 1)
            for n in config.n if n >= 200
        ]  # fmt: skip
        together = [
            {"part": "simultaneous", "bandwidth": "selected", "curve": curve, "degree": degree, "n": n}
            for curve in ("flat", "sine") for degree in (0, 1) for n in config.n if n >= 200
        ]  # fmt: skip
        return rates + noises + small + curves + together

    def simulate(self, cell, repetitions, rng):
        found = _Found()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the choice for a flat curve lies at the end of the grid
            for repetition in range(repetitions):
                found.repetition = repetition
                getattr(self, f"_{cell['part']}")(cell, rng, found)
        return {name: np.array([row[name] for row in found.rows]) for name in found.rows[0]}

    def _rates(self, cell, rng, found):
        n, p = cell["n"], cell["p"]
        past = cell["design"] == "past-only"
        if past:
            x = np.repeat(np.arange(n // _ROLLOUTS, dtype=np.float64), _ROLLOUTS)
            places, fixed = {"end": x[-1] + 1.0, "middle": x[x.size // 2]}, self.config.steps
        else:
            x = (np.arange(n) + 0.5) / n
            places, fixed = {"end": 0.0, "middle": 0.5}, self.config.bandwidth
        options = {"kernel": _PAST_KERNEL if past else _KERNEL, "sided": "past" if past else "two"}
        y = (rng.random((_SAMPLES, x.size)) < p).astype(np.float64)
        if cell["bandwidth"] == "selected":
            h = kvar.select_bandwidth(x, y[0], **options).bandwidth
            found.add(kvar.KernelRegressor(bandwidth=h, **options).fit(x, y[0]), places, lambda x: p)
            return
        # One smoother matrix serves all samples; the first one says whether this is the band of the regressor.
        at = np.array(list(places.values()))
        rows = _smoother_rows(x, at, get_kernel(options["kernel"]), fixed, past)
        low, high = rate_limits(y @ rows.T, 1.0 / np.sum(rows**2, axis=1))
        band = kvar.KernelRegressor(bandwidth=fixed, **options).fit(x, y[0]).confidence_band(at)
        np.testing.assert_allclose([low[0], high[0]], [band.lower, band.upper], rtol=1e-9, atol=1e-12)
        for k, place in enumerate(places):
            covered = float(np.mean((low[:, k] <= p) & (p <= high[:, k])))
            found.row(place, covered, float(np.mean(high[:, k] - low[:, k])), 0, "plain")

    def _noise(self, cell, rng, found):
        x, noise = (np.arange(cell["n"]) + 0.5) / cell["n"], cell["noise"]
        shift, bounds = (0.1, (0.0, 1.0)) if noise == "beta" else (0.0, "auto")
        y = shift + _NOISES[noise](x, rng)
        places = {"start": 0.0, "middle": 0.5, "end": 1.0}
        options = {"noise": "local" if noise == "heteroscedastic" else "constant", "bounds": bounds}
        for degree in (0, 1):
            model = kvar.KernelRegressor(_KERNEL, self.config.bandwidth, degree).fit(x, y)
            found.add(model, places, lambda x: shift, degree=degree, **options)

    def _small(self, cell, rng, found):
        y = rng.standard_normal(cell["n"])
        model = kvar.KernelRegressor(_KERNEL, 0.7).fit(np.linspace(0.0, 1.0, cell["n"]), y)
        found.add(model, {"end": 0.0, "middle": 0.5}, np.zeros_like)

    def _curves(self, cell, rng, found):
        past, curve = cell["design"] == "past-only", _CURVES[cell["curve"]]
        model = self._fitted(cell, rng, curve, "past" if past else "two")
        places = {"start": 0.0, "middle": 0.5, "end": 1.0}
        if past:
            del places["start"]
        if cell["curve"] == "kink":
            places["bend"] = 0.4
        for corrected in (False, True):
            found.add(model, places, curve, degree=cell["degree"], bias_corrected=corrected)

    def _simultaneous(self, cell, rng, found):
        curve = _CURVES[cell["curve"]]
        model = self._fitted(cell, rng, curve, "two")
        at, corrected = np.linspace(0.0, 1.0, _TARGETS), cell["curve"] != "flat"
        for together in (False, True):
            band = model.confidence_band(at, bias_corrected=corrected, simultaneous=together)
            inside = float(np.all((band.lower <= curve(at)) & (curve(at) <= band.upper)))
            width = float(np.mean(band.upper - band.lower))
            found.row("everywhere", inside, width, cell["degree"], "simultaneous" if together else "pointwise")

    def _fitted(self, cell, rng, curve, sided):
        x = np.sort(rng.random(cell["n"]))
        y = curve(x) + _NOISES["gaussian"](x, rng)
        chosen = kvar.select_bandwidth(x, y, kernel=_KERNEL, degree=cell["degree"], sided=sided)
        return kvar.KernelRegressor(_KERNEL, chosen.bandwidth, cell["degree"], sided).fit(x, y)

    def tables(self, rows):
        by = ["part", "design", "curve", "noise", "n", "p", "degree", "bandwidth", "band", "place"]
        missing = [pl.lit(None).alias(name) for name in by if name not in rows.columns]
        rows = rows.with_columns(*missing)
        every = summary(rows, by, ["covered", "width"]).rename({"covered": "coverage", "covered_se": "coverage_se"})

        def part(name, index, on):
            wide = every.filter(part=name).with_columns(percent=100.0 * pl.col("coverage"), on=on)
            return wide.pivot("on", index=index, values="percent", maintain_order=True)

        rate = pl.format("p = {}", pl.col("p"))
        of_rates = ["design", "bandwidth", "place", "n"]
        return {
            "rates": part("rates", of_rates, rate).sort(of_rates),
            "noise": part("noise", ["noise", "degree", "n"], pl.col("place")),
            "small": part("small", ["n"], pl.col("place")),
            "curves": part("curves", ["design", "degree", "curve", "n"], pl.format("{}, {}", "band", "place")),
            "simultaneous": part("simultaneous", ["curve", "degree", "n"], pl.col("band")),
            "every": every,
        }  # fmt: skip

    def claims(self, tables):
        claims = []
        for what, cells, low, high in _groups(tables["every"]):
            # A few of many cells lie outside by chance.
            slack = 2.0 * pl.col("coverage_se")
            near = cells.filter(pl.col("coverage").is_between(low - slack, high + slack)).height
            statement = (
                f"{what}: cells with coverage from {100 * low:.0f} to {100 * high:.0f} %, give or take two errors"
            )
            claims.append(Claim.fraction(statement, near, cells.height, 1.0))
        return claims

    def remarks(self, tables):
        every = tables["every"]
        error = 100.0 * math.sqrt(0.95 * 0.05 / every["repetitions"].max())
        sentences = [f"The standard error of 95 % is {error:.1f} points, less for rates at fixed bandwidth."]
        for what, cells, low, high in _groups(every):
            inside = cells.filter(pl.col("coverage").is_between(low, high)).height
            sentences.append(
                f"{what}: {_percents(cells)}, {inside} of {cells.height} cells as found from {100 * low:.0f} to"
                f" {100 * high:.0f} %."
            )
        curves = every.filter(part="curves")
        ends = pl.col("place").is_in(["start", "end"])
        for what, cells in (
            ("The plain band on curves", curves.filter(band="plain")),
            ("The plain band of degree 0 at the ends, two-sided",
             curves.filter(ends, band="plain", degree=0, design="two-sided")),
            ("The bias-corrected band at the bend", curves.filter(band="corrected", place="bend")),
            ("Pointwise bands, at all 50 points at once", every.filter(part="simultaneous", band="pointwise")),
        ):  # fmt: skip
            sentences.append(f"{what}: {_percents(cells)}.")
        return sentences

    def pictures(self, tables):
        figure, (left, right) = figures.panels(2)
        every = tables["every"]
        rates = every.filter(part="rates").group_by("p", maintain_order=True).agg(pl.col("coverage"))
        for rank, (_, values) in enumerate(rates.iter_rows()):
            left.plot([rank] * len(values), [100.0 * v for v in values], ".", color="C0", alpha=0.6)
        left.set_xticks(range(len(rates)), [f"{p:g}" for p in rates["p"]])
        left.set(xlabel="true rate", ylabel="coverage in %", title="rates, flat curves")
        curves = every.filter(part="curves")
        for shift, (band, colour) in enumerate((("plain", "C3"), ("corrected", "C0"))):
            cells = curves.filter(band=band)
            place = [list(_CURVES).index(c) + 0.3 * shift for c in cells["curve"]]
            right.plot(place, 100.0 * cells["coverage"], ".", color=colour, alpha=0.6, label=band)
        right.set_xticks([1.15, 2.15, 3.15], list(_CURVES)[1:])
        right.set(title="curves, selected bandwidth")
        right.legend(frameon=False, loc="lower left")
        for panel in (left, right):
            panel.axhline(95.0, color="black", linewidth=0.8)
        return {"cells": figure}


def _groups(every):
    """Cells that the bands promise to cover, with the least and the largest coverage that is good enough."""
    corrected = every.filter(pl.col("place") != "bend", part="curves", band="corrected")
    return (
        ("Rates at fixed bandwidth", every.filter(part="rates", bandwidth="fixed"), 0.93, 0.97),
        ("Rates at selected bandwidth", every.filter(part="rates", bandwidth="selected"), 0.93, 0.97),
        ("Other noise on flat curves", every.filter(part="noise"), 0.93, 0.97),
        ("5 to 20 observations", every.filter(pl.col("n") >= 5, part="small"), 0.93, 0.97),
        ("The bias-corrected band on curves, but for the bend", corrected, 0.92, 0.97),
        ("The simultaneous band", every.filter(part="simultaneous", band="simultaneous"), 0.93, 1.0),
    )


def _percents(cells) -> str:
    return f"{100.0 * cells['coverage'].min():.1f} to {100.0 * cells['coverage'].max():.1f} %"


def _smoother_rows(x, at, kernel, h, past):
    """The weights of the observations in the local means at some points."""
    u = (x - at[:, None]) / h
    weights = kernel(np.abs(u)) * (u < 0.0 if past else 1.0)
    return weights / np.sum(weights, axis=1, keepdims=True)


class _Found:
    """Rows of a block: a repetition, a band and a place each."""

    def __init__(self):
        self.rows, self.repetition = [], 0

    def add(self, model, places, curve, *, degree=0, **options):
        """Whether the band of a fit covers a curve, and its width, at each place."""
        at = np.array(list(places.values()))
        band = model.confidence_band(at, **options)
        name = "corrected" if options.get("bias_corrected") else "plain"
        truth = np.broadcast_to(curve(at), at.shape)
        for place, low, true, high in zip(places, band.lower, truth, band.upper, strict=True):
            self.row(place, float(low <= true <= high), float(high - low), degree, name)

    def row(self, place, covered, width, degree, band):
        """Add one."""
        self.rows.append({
            "repetition": self.repetition, "place": place, "covered": covered, "width": width,
            "degree": degree, "band": band,
        })  # fmt: skip
