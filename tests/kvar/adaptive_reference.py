"""The adaptive baseline as a plain loop over candidates, prompts, rollouts and visits."""

from __future__ import annotations

import math

WINDOWS = [("triangular", w) for w in (2, 5, 12, 30, 80)] + [("exponential", w) for w in (15, 50, 150, 500)]
PRIORS = (0, 1, 2, 5, 15)


def weight_of(kind, window, lag):
    if lag > 1000:
        return 0.0
    return max(1 - lag / window, 0.0) if kind == "triangular" else math.exp(-lag / window)


class AdaptiveLoop:
    """One object a run; `step` takes a time and {prompt: [rewards]}, returns {prompt: [(value, error, size)]}."""

    def __init__(self):
        self.visits = {}
        self.losses = [0.0] * (2 * len(WINDOWS) * len(PRIORS) + 1)
        self.best = self.count = 0.0
        self.products = [0.0] * len(WINDOWS)
        self.squares = [0.0] * len(WINDOWS)
        self.total = self.n = 0.0
        self.low, self.high = math.inf, -math.inf
        self.errors = self.spreads = 0.0

    def mixture(self):
        noise = self.best / self.count if self.count else 0.0
        least = min(self.losses)
        if noise == 0.0:
            raw = [1.0 if loss == least else 0.0 for loss in self.losses]
        else:
            raw = [math.exp(-0.125 * (loss - least) / noise) for loss in self.losses]
        return [r / sum(raw) for r in raw]

    def spread(self, value):
        return max((value - self.low) * (self.high - value), 0.0) if self.low < self.high else 0.0

    def uncertainty(self, weights, candidates, value):
        """Of one value: its standard error, and the rewards that it is worth."""
        share = min(1.0, self.errors / self.spreads) if self.spreads > 0 else math.nan
        middle = (self.low + self.high) / 2 if self.n else 0.0
        variance = size = 0.0
        for weight, (candidate, worth) in zip(weights, candidates, strict=True):
            noise = share * self.spread((candidate * worth + middle) / (worth + 1))
            variance += weight * (noise / max(worth, 1.0) + (candidate - value) ** 2)
            size += weight * worth
        return math.sqrt(variance), size

    def step(self, now, groups):
        run_mean, run_mass = (self.total / self.n if self.n else 0.0), min(64.0, self.n)
        weights, flat = self.mixture(), [(p, g) for p, rewards in groups.items() for g in range(len(rewards))]
        losses, found = [0.0] * len(self.losses), {p: [None] * len(r) for p, r in groups.items()}
        products, squares = [0.0] * len(WINDOWS), [0.0] * len(WINDOWS)
        sums = {}
        for p, rewards in groups.items():
            for k, (kind, window) in enumerate(WINDOWS):
                total = mass = lag_mass = 0.0
                for then, reward in self.visits.get(p, []):
                    w = weight_of(kind, window, now - then)
                    total, mass, lag_mass = total + w * reward, mass + w, lag_mass + w * (now - then)
                lag = lag_mass / mass if mass > 0 else 0.0
                width = self.high - self.low if self.n else 0.0
                unit = lag * self.spread((total + 2 * run_mean) / (mass + 2)) / width if width > 0 else 0.0
                slope = self.products[k] / (self.squares[k] + width**2) if self.squares[k] + width > 0 else 0.0
                sums[p, k] = (total, mass, mass * slope * unit)
                for reward in rewards:
                    if not math.isnan(reward):
                        if mass > 0:
                            products[k] += (reward - total / mass) * unit
                        squares[k] += unit**2
        for p, g in flat:
            others = [r for k, r in enumerate(groups[p]) if k != g and not math.isnan(r)]
            in_batch = [groups[q][k] for q, k in flat if (q, k) != (p, g) and not math.isnan(groups[q][k])]
            n_prior = len(in_batch) + run_mass
            prior = (sum(in_batch) + run_mass * run_mean) / n_prior if n_prior else 0.5
            candidates = []
            for k in range(len(WINDOWS)):
                total, mass, moved = sums[p, k]
                for kappa in PRIORS:
                    worth = mass + len(others) + kappa
                    still = (total + sum(others) + kappa * prior) / worth if worth else prior
                    candidates += [(still, worth), (still + (moved / worth if worth else 0.0), worth)]
            candidates.append((prior, PRIORS[-1]))
            value = sum(w * v for w, (v, _) in zip(weights, candidates, strict=True))
            found[p][g] = (value, *self.uncertainty(weights, candidates, value))
            if not math.isnan(groups[p][g]):
                losses = [loss + (v - groups[p][g]) ** 2 for loss, (v, _) in zip(losses, candidates, strict=True)]
        scored = [(p, r) for p, rewards in groups.items() for r in rewards if not math.isnan(r)]
        if scored:
            small = min(1.0, len(scored) / 64)
            self.losses = [0.97**small * old + new for old, new in zip(self.losses, losses, strict=True)]
            self.best = 0.97**small * self.best + min(losses)
            self.count = 0.97**small * self.count + len(scored)
            self.products = [0.97**small * old + new for old, new in zip(self.products, products, strict=True)]
            self.squares = [0.97**small * old + new for old, new in zip(self.squares, squares, strict=True)]
            self.total = 0.95**small * self.total + sum(r for _, r in scored)
            self.n = 0.95**small * self.n + len(scored)
            self.low, self.high = min(self.low, *(r for _, r in scored)), max(self.high, *(r for _, r in scored))
        if scored and self.low < self.high:
            known = [(found[p][g][0], groups[p][g]) for p, g in flat if not math.isnan(groups[p][g])]
            self.errors = 0.95**small * self.errors + sum((r - v) ** 2 for v, r in known)
            self.spreads = 0.95**small * self.spreads + sum(self.spread(v) for v, _ in known)
        for p, r in scored:
            self.visits.setdefault(p, []).append((now, r))
        return found
