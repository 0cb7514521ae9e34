"""The adaptive and the variance-optimal baseline as plain loops over candidates, prompts, rollouts and visits."""

from __future__ import annotations

import copy
import math

WINDOWS = [("triangular", w) for w in (2, 5, 12, 30, 80)] + [("exponential", w) for w in (15, 50, 150, 500)]
PRIORS = (0, 1, 2, 5, 15)


def weight_of(kind, window, lag):
    if lag > 1000:
        return 0.0
    return max(1 - lag / window, 0.0) if kind == "triangular" else math.exp(-lag / window)


def weights_of(losses, best, count):
    noise, least = (best / count if count else 0.0), min(losses)
    if noise == 0.0:
        raw = [1.0 if loss == least else 0.0 for loss in losses]
    else:
        raw = [math.exp(-0.125 * (loss - least) / noise) for loss in losses]
    return [r / sum(raw) for r in raw]


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
        return weights_of(self.losses, self.best, self.count)

    def spread(self, value):
        return max((value - self.low) * (self.high - value), 0.0) if self.low < self.high else 0.0

    def uncertainty(self, weights, candidates, value):
        """Of one value: its standard error, and the rewards that it is worth."""
        share = 1.0 if self.errors > self.spreads else self.errors / self.spreads if self.spreads > 0 else math.nan
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
        self.looks = {}
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
            self.looks[p, g] = (candidates, value)
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


class VarianceOptimalLoop(AdaptiveLoop):
    """The same with a norm a rollout: `step` also takes {prompt: [norms]}, of which NaN is not known."""

    def __init__(self):
        super().__init__()
        self.ranked = [0.0] * len(self.losses)
        self.ranked_best = self.ranked_count = 0.0
        self.nodes = [[0.0] * 4 for _ in range(9)]  # sums of n Z, n (1 - Z), Z, 1 - Z at values 0, 1/8, ... 1
        self.norm_total = self.norm_count = 0.0
        self.own = {}  # of a prompt the sums of Z n / W1, (1 - Z) n / W0, Z, 1 - Z
        self.own_products = self.own_squares = self.own_variance = 0.0

    def means(self, node):
        """W1 and W0 at a node."""
        whole = [sum(node[k] for node in self.nodes) for k in range(4)]
        pooled = [(whole[0] + 1) / (whole[2] + 1), (whole[1] + 1) / (whole[3] + 1)]
        return [(node[k] + 5 * pooled[k]) / (node[k + 2] + 5) for k in (0, 1)]

    def log_ratio(self, place):
        """Logarithm of W1 / W0 at a value between 0 and 1."""

        def at(node):
            high, low = self.means(node)
            return math.log(min(max(max(high, 1e-9) / max(low, 1e-9), 1e-6), 1e6))

        left = min(int(8 * place), 7)
        return (1 - (8 * place - left)) * at(self.nodes[left]) + (8 * place - left) * at(self.nodes[left + 1])

    def fraction(self, reward):
        return min(max((reward - self.low) / (self.high - self.low), 0.0), 1.0) if self.low < self.high else 0.0

    def means_at(self, place):
        """W1 and W0 at a value between 0 and 1."""
        left = min(int(8 * place), 7)
        ends = zip(self.means(self.nodes[left]), self.means(self.nodes[left + 1]), strict=True)
        return [(1 - (8 * place - left)) * a + (8 * place - left) * b for a, b in ends]

    def cut(self, weight, place, cap):
        """A weight cut at so many times W1, and W0, of a value."""
        return [min(weight, cap * mean) for mean in self.means_at(place)]

    def move(self, prompt, level):
        """How far the own ratio of a prompt would move a baseline, as a fraction of the range."""
        right, wrong, n_right, n_wrong = self.own.get(prompt, [0.0] * 4)
        q, b = (right + 3) / (n_right + 3) / ((wrong + 3) / (n_wrong + 3)), self.fraction(level)
        return q * b / (1 + (q - 1) * b) - b

    def part(self):
        """The part of the moves that is made."""
        if self.own_products <= 0:
            return 0.0
        doubt = min(1.0, 4 * self.own_variance / self.own_products**2)
        return min(1.0, self.own_products / self.own_squares) * (1 - doubt)

    def shifted(self, value):
        """The baseline of a value and its slope, between points a 64th of the range apart."""
        if not self.low < self.high:
            return value, 1.0
        width = self.high - self.low

        def at(k):
            ratio = math.exp(self.log_ratio(k / 64))
            norm = 1 + (ratio - 1) * k / 64
            return (ratio - 1) * k / 64 * (1 - k / 64) / norm, ratio / norm**2

        place = min(max((value - self.low) / width, 0.0), 1.0)
        left = min(int(64 * place), 63)
        (shift, slope), (next_shift, next_slope) = at(left), at(left + 1)
        part = 64 * place - left
        return value + width * ((1 - part) * shift + part * next_shift), (1 - part) * slope + part * next_slope

    def step(self, now, groups, norms):
        before = copy.deepcopy(self)
        super().step(now, groups)
        weights = weights_of(before.ranked, before.ranked_best, before.ranked_count)
        known = [norms[p][g] ** 2 for p, g in self.looks if not math.isnan(groups[p][g] + norms[p][g])]
        total, count = (before.norm_total, before.norm_count) if before.norm_count else (sum(known), len(known))
        found, losses = {p: [None] * len(rewards) for p, rewards in groups.items()}, [0.0] * len(self.ranked)
        scored, added, seen, products, squares = (
            0,
            [[0.0] * 4 for _ in self.nodes],
            {p: [0.0] * 4 for p in groups},
            [],
            [],
        )
        for (p, g), (candidates, value) in self.looks.items():
            levels = [before.shifted(v) for v, _ in candidates]
            level = sum(w * b for w, (b, _) in zip(weights, levels, strict=True))
            error, size = before.uncertainty(before.mixture(), candidates, value)
            move, width = before.move(p, level), before.high - before.low if before.low < before.high else 0.0
            found[p][g] = (level + before.part() * width * move, before.shifted(value)[1] * error, size)
            reward, norm = groups[p][g], norms[p][g]
            if math.isnan(reward):
                continue
            scored += 1
            known_norm = not math.isnan(norm)
            relative = norm**2 * count / total if known_norm and total > 0 else 1.0
            # A rough value: the mean of all windows, with a prior worth one reward.
            rough = sum(v * size for v, size in candidates[2:-1:10]) / sum(size for _, size in candidates[2:-1:10])
            of_best, of_worst = before.cut(relative, before.fraction(rough), 5.0)
            z = before.fraction(reward)
            weight = z * of_best + (1 - z) * of_worst if known_norm else 1.0
            losses = [loss + weight * (b - reward) ** 2 for loss, (b, _) in zip(losses, levels, strict=True)]
            if known_norm and self.low < self.high:
                place, z = self.fraction(value), self.fraction(reward)
                products.append(weight * move * (reward - level) / (self.high - self.low))
                squares.append(weight * move**2)
                own = [min(relative / mean, 10.0) for mean in before.means_at(place)]
                for k, entry in enumerate((own[0] * z, own[1] * (1 - z), z, 1 - z)):
                    seen[p][k] += entry
                of_best, of_worst = before.cut(relative, place, 10.0)
                left = min(int(8 * place), 7)
                for node, part in ((left, 1 - (8 * place - left)), (left + 1, 8 * place - left)):
                    for k, entry in enumerate((of_best * z, of_worst * (1 - z), z, 1 - z)):
                        added[node][k] += part * entry
        if scored:
            old = 0.97 ** min(1.0, scored / 64)
            self.ranked = [old * loss + new for loss, new in zip(self.ranked, losses, strict=True)]
            self.ranked_best, self.ranked_count = old * self.ranked_best + min(losses), old * self.ranked_count + scored
        if known:
            small = min(1.0, len(known) / 64)
            if self.low < self.high:
                self.own_products = 0.985**small * self.own_products + sum(products)
                self.own_squares = 0.985**small * self.own_squares + sum(squares)
                self.own_variance = 0.985 ** (2 * small) * self.own_variance + sum(x * x for x in products)
                for p, sums in seen.items():
                    self.own[p] = [0.98 * o + n for o, n in zip(self.own.get(p, [0.0] * 4), sums, strict=True)]
                pairs = zip(self.nodes, added, strict=True)
                self.nodes = [[0.985**small * o + n for o, n in zip(*pair, strict=True)] for pair in pairs]
            self.norm_total = 0.95**small * self.norm_total + sum(known)
            self.norm_count = 0.95**small * self.norm_count + len(known)
        return found
