# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How fast does the value error fall, and how close is the gradient to the oracle's?
#
# ## What you will be able to do
#
# - Compute the bound on the value error and the best window with `kvar.theory`.
# - Run a small simulation study and compare its rate with the theorem.
# - Measure what a baseline adds to the oracle's gradient error.
#
# *For the theorist.* Statements of Kernelized Advantage Estimation (arXiv 2604.28005), first as a formula and then as
# a simulation:
#
# - **T1, C1** on a Lipschitz path the value MSE falls as $N^{-2/3}$ when the window shrinks as $N^{-1/3}$;
# - the value MSE of a group mean does not fall, however many steps the path is seen at;
# - **T2, C2** the gradient's MSE approaches that with the oracle.

# %%
# %matplotlib inline
import dataclasses
import tempfile

import matplotlib.pyplot as plt
import numpy as np

from kvar import theory
from simulations.harness.running import run_study
from simulations.studies.gradient_error import GradientError
from simulations.studies.value_rates import ValueRates

# %% [markdown]
# ## The formula
#
# Bias $h \mu_1 L$, variance $\sigma^2 R / (N h)$: one falls with the window and one rises. `theory` has the
# constants of every kernel.

# %%
n = 2000
windows = np.geomspace(0.01, 0.5, 100)
errors = [theory.lipschitz_mse("triangular", h, n=n, noise=0.25, lipschitz=0.5) for h in windows]
best = theory.lipschitz_bandwidth("triangular", n=n, noise=0.25, lipschitz=0.5)
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(windows, errors, color="#0072B2")
axes.axvline(best, color="0.5", linestyle="--", label=f"best window, {best:.3f} of the run")
axes.set(xscale="log", yscale="log", xlabel="window h, fraction of the run", ylabel="worst value MSE, 2000 rewards")
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## The rate
#
# A small version of the study `value-rates`: the path is straight up and down with slope 1/2, two binary rewards a
# step.

# %%
small = dataclasses.replace(
    ValueRates.quick, repetitions=400, block=400, lengths=(300, 1200, 4800), steps=(500,), course_steps=50
)
study = ValueRates(small)
with tempfile.TemporaryDirectory() as blocks:
    tables = study.tables(run_study(study, seed=0, folder=blocks))
figure = study.pictures(tables)["rates"]
figure

# %%
slopes = {(row["path"], row["baseline"]): row for row in tables["slopes"].iter_rows(named=True)}
for (path, baseline), expected in ((("Lipschitz", "kernel"), -2 / 3), (("Lipschitz", "group-mean"), 0.0)):
    row = slopes[path, baseline]
    print(f"{baseline}: slope {row['value']:.2f} ± {row['standard_error']:.2f}, theory {expected:.2f}")

# %% [markdown]
# ## The oracle property
#
# A softmax bandit whose gradient is known. How much does each baseline add to the oracle's gradient MSE?

# %%
small = dataclasses.replace(GradientError.quick, repetitions=4, block=4, groups=(1, 2), visits=60, warm_up=30)
study = GradientError(small)
with tempfile.TemporaryDirectory() as blocks:
    tables = study.tables(run_study(study, seed=0, folder=blocks))
for row in tables["excess"].iter_rows(named=True):
    added = f"{100 * row['value']:+7.1f} ± {100 * row['standard_error']:.1f} %"
    print(f"G = {row['group_size']}, {row['baseline']:13s} {added}")

# %% [markdown]
# **The answer.** The measured slope agrees with the theorem. A good estimate of the value comes close to the oracle
# even with one rollout, where `leave-one-out` has no estimate at all.
#
# **Try next:** `theory.suboptimality_bound` (T3); `python -m simulations run all --quick` for all studies; a
# smooth path and `degree=1`, where the rate is $N^{-4/5}$.
