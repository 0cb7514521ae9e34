"""Slow loops that read like the published formulas of the baselines.

Each takes a run, a list of (step, groups) with groups a list of (prompt, rewards, columns), a prompt at most once in
such a list, and returns the values in the same nesting. A missing reward is NaN, and its value is not compared.
"""

from __future__ import annotations

import math
from statistics import fmean, pvariance, variance

from kvar.kernels import get_kernel


def scored(rewards):
    return [r for r in rewards if not math.isnan(r)]


def others(rewards, g):
    return scored([r for k, r in enumerate(rewards) if k != g])


def kernel(run, bandwidth=10.0, kernel="triangular"):
    weigh, history, values = get_kernel(kernel), {}, []
    for now, groups in run:
        step = []
        for prompt, rewards, _ in groups:
            lags = [(now - then, r) for then, r in history.get(prompt, [])]
            past = [(weigh(lag / bandwidth), r) for lag, r in lags if 0 < lag <= weigh.reach * bandwidth]
            elsewhere = [r for other, rest, _ in groups if other != prompt for r in scored(rest)]
            row = []
            for g in range(len(rewards)):
                pairs = past + [(weigh(0.0), r) for r in others(rewards, g)]
                mass = sum(w for w, _ in pairs)
                fallback = fmean(elsewhere) if elsewhere else 0.0
                row.append(sum(w * r for w, r in pairs) / mass if mass > 0 else fallback)
            step.append(row)
        for prompt, rewards, _ in groups:
            history.setdefault(prompt, []).extend((now, r) for r in scored(rewards))
        values.append(step)
    return values


def james_stein(run):
    values = []
    for _, groups in run:
        step = []
        for i, (_, rewards, _) in enumerate(groups):
            rest = [s for k, (_, r, _) in enumerate(groups) if k != i and (s := scored(r))]
            n = len(rest) + (len(scored(rewards)) > 0)
            means = [fmean(r) for r in rest]
            centre = fmean(means) if means else 0.0
            noises = [variance(r) / len(r) for r in rest if len(r) > 1]
            v = fmean(noises) if noises else 0.0
            s = fmean([(m - centre) ** 2 for m in means]) if means else 0.0
            weight = (n - 1) / n * v / (v + s) if v > 0 else 0.0
            row = []
            for g in range(len(rewards)):
                own = others(rewards, g)
                row.append((1 - weight) * fmean(own) + weight * centre if own else centre)
            step.append(row)
        values.append(step)
    return values


def empirical_bayes(run):
    rewards_so_far, means_so_far, values = [], [], []
    for _, groups in run:
        for _, rewards, _ in groups:
            rewards_so_far += scored(rewards)
            means_so_far += [fmean(scored(rewards))] if scored(rewards) else []
        step = []
        for _, rewards, _ in groups:
            size = len(scored(rewards))
            value = math.nan
            if size:
                noise, spread = pvariance(rewards_so_far) / size, pvariance(means_so_far)
                shrinkage = noise / (noise + spread) if noise + spread > 0 else 0.0
                value = (1 - shrinkage) * fmean(scored(rewards)) + shrinkage * fmean(rewards_so_far)
            step.append([value] * len(rewards))
        values.append(step)
    return values


def discounted_beta(run, forgetting="visit", discount=0.5, half_life=0.06, prior=1.0, include_own=True):
    counts, last, values = {}, {}, []
    for now, groups in run:
        step = []
        for prompt, rewards, columns in groups:
            alpha, beta = counts.get(prompt, (prior, prior))
            seen = scored(rewards)
            if forgetting == "visit":
                rho = discount
            elif forgetting == "step":
                rho = discount ** (now - last.get(prompt, now))
            else:
                rho = min(max(2 ** (-columns["drift"] / half_life), 0.875), 0.96)
            row = []
            for g in range(len(rewards)):
                used = seen if include_own else others(rewards, g)
                a, b = rho * alpha + sum(used), rho * beta + sum(1 - r for r in used)
                row.append(a / (a + b))
            step.append(row)
            if seen:
                counts[prompt] = (rho * alpha + sum(seen), rho * beta + sum(1 - r for r in seen))
                last[prompt] = now
        values.append(step)
    return values


def observed(rewards):
    m, G = sum(rewards), len(rewards)
    if m in (0, G):
        return (math.pi / 2 if m else 0.0), 1 / (2 * G)
    return math.asin(math.sqrt((m + 3 / 8) / (G + 3 / 4))), 1 / (4 * G + 2)


def filtered(mu, P, rewards):
    z, R = observed(rewards)
    gain = P / (P + R)
    return min(max(mu + gain * (z - mu), 0.0), math.pi / 2), (1 - gain) * P


def kalman(run, drift_rate=0.1):
    v, Q, states, first, values = 0.0, 1e-5, {}, [], []
    for now, groups in run:
        if len(first) >= 100:
            angles = [z for z, _ in first]
            prior = fmean(angles), max(pvariance(angles) - fmean(R for _, R in first), Q)
        else:
            prior = math.pi / 4, math.pi**2 / 48
        step, after, new, nus, etas, gaps, excess = [], {}, [], [], [], [], []
        for prompt, rewards, _ in groups:
            mu, P, last = states.get(prompt, (*prior, now))
            gap = now - last
            mu = math.atan2(math.sin(mu) * math.exp(v * gap), math.cos(mu) * math.exp(-v * gap))
            P += Q * gap
            row = []
            for g in range(len(rewards)):
                rest = others(rewards, g)
                row.append(math.sin(filtered(mu, P, rest)[0] if rest else mu) ** 2)
            step.append(row)
            seen = scored(rewards)
            if not seen:
                continue
            z, R = observed(seen)
            after[prompt] = (*filtered(mu, P, seen), now)
            if prompt not in states:
                new.append((z, R))
            elif gap > 0:
                nus.append(z - mu)
                etas.append(max(math.sin(2 * mu), 0.05))
                gaps.append(gap)
                excess.append((z - mu) ** 2 - (P + R))
        states.update(after)
        first += new
        if nus:
            v += drift_rate * sum(nus) / sum(gap * eta for gap, eta in zip(gaps, etas, strict=True))
            e = fmean(excess) / fmean(gaps)
            Q = max(1e-5, 0.9 * Q + 0.1 * max(Q + e, 0.0))
        values.append(step)
    return values


def buffer(run, size=16, min_count=16):
    windows, values = {}, []
    for _, groups in run:
        in_batch = [r for _, rewards, _ in groups for r in scored(rewards)]
        step = []
        for prompt, rewards, _ in groups:
            window = (windows.get(prompt, []) + scored(rewards))[-size:]
            value = fmean(window) if len(window) >= min_count else fmean(in_batch) if in_batch else math.nan
            step.append([value] * len(rewards))
            windows[prompt] = window
        values.append(step)
    return values


def krpo(run, process_noise=1e-5, measurement_noise=1e-2):
    values = []
    for _, groups in run:
        step = []
        for _, rewards, _ in groups:
            x, P, row = 0.0, 1.0, []
            for r in rewards:
                if not math.isnan(r):
                    P += process_noise
                    K = P / (P + measurement_noise)
                    x, P = x + K * (r - x), (1 - K) * P
                row.append(x)
            step.append(row)
        values.append(step)
    return values


def opo(run):
    values = []
    for _, groups in run:
        step = []
        for _, rewards, columns in groups:
            kept = [
                (length, r)
                for length, r in zip(columns["completion_length"], rewards, strict=True)
                if not math.isnan(r)
            ]
            total = sum(length for length, _ in kept)
            value = sum(length * r for length, r in kept) / total if len(kept) > 1 and total > 0 else 0.0
            step.append([value] * len(rewards))
        values.append(step)
    return values


def basis(run):
    values = []
    for _, groups in run:
        step = []
        for i, (_, rewards, columns) in enumerate(groups):
            own, top, bottom = columns["offline_value"], 0.0, 0.0
            for k, (_, rest, columns_k) in enumerate(groups):
                V = columns_k["offline_value"]
                if k != i and 0 < V < 1:
                    top += sum(V * r / (V * (1 - V)) for r in scored(rest))
                    bottom += sum(V * V / (V * (1 - V)) for _ in scored(rest))
            value = own * (top / bottom if bottom else 1.0) if 0 < own < 1 else 0.0
            step.append([value] * len(rewards))
        values.append(step)
    return values
