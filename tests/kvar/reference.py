"""Slow loops that read like the formulas, for the fast code to be held against."""

from __future__ import annotations

import math

from kvar.kernels import get_kernel


def kernel_value(history, group, g, step, bandwidth, kernel):
    """V_i^(g)(X) of arXiv 2604.28005, or None where there is neither history nor group.

    history: list of (step, reward) of the prompt; group: the prompt's rewards at this step; own reward: group[g].
    """
    weigh = get_kernel(kernel)
    total, mass = 0.0, 0.0
    for past_step, reward in history:
        if step - past_step > weigh.reach * bandwidth:
            continue
        weight = float(weigh((step - past_step) / bandwidth))
        total += weight * reward
        mass += weight
    for k, reward in enumerate(group):
        if k != g and not math.isnan(reward):
            total += float(weigh(0.0)) * reward
            mass += float(weigh(0.0))
    return total / mass if mass > 0 else None


def mean_of_others(rewards, own):
    """Mean of all rewards but number `own`, 0 if there are none."""
    others = [r for k, r in enumerate(rewards) if k != own and not math.isnan(r)]
    return sum(others) / len(others) if others else 0.0


def kernel_run(steps, bandwidth, kernel):
    """Values of a whole run; steps: list of (step, [(prompt, [rewards])]), a prompt at most once a step."""
    history, run = {}, []
    for step, groups in steps:
        flat = [r for _, rewards in groups for r in rewards]
        values, place = [], 0
        for prompt, rewards in groups:
            row = []
            for g in range(len(rewards)):
                value = kernel_value(history.get(prompt, []), rewards, g, step, bandwidth, kernel)
                row.append(mean_of_others(flat, place) if value is None else value)
                place += 1
            values.append(row)
        for prompt, rewards in groups:
            history.setdefault(prompt, []).extend((step, r) for r in rewards if not math.isnan(r))
        run.append(values)
    return run
