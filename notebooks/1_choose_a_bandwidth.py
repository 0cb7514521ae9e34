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
# # How wide a window?
#
# ## What you will be able to do
#
# - Fit a success rate to rewards of 0 and 1 with `KernelRegressor`.
# - Choose the bandwidth from the rewards alone with `select_bandwidth`.
# - Look back only, as a trainer must, with a local mean or a local line.
#
# *For the statistician.* No knowledge of reinforcement learning is needed.

# %% [markdown]
# ## The question
#
# A policy is trained for 600 steps. One of its prompts is tried once a step and answered correctly or not: a reward
# of 1 or 0. What is the success rate at each step, and which bandwidth finds it best?

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

import kvar

rng = np.random.default_rng(3)
step = np.arange(600) / 600
value = 0.25 + 0.55 / (1 + np.exp(-18 * (step - 0.45))) - 0.15 * np.sin(np.pi * np.clip(step - 0.6, 0, None) / 0.4) ** 2
reward = (rng.random(600) < value).astype(float)

# %% [markdown]
# ## Three windows
#
# `KernelRegressor` averages rewards with weights that fall off over the bandwidth. A narrow window follows the
# noise, a wide one flattens the curve. Both are easy to see here, because the true curve is drawn too. With real
# rewards it is unknown.

# %%
figure, axes = plt.subplots(figsize=(7, 3.2))
axes.plot(step, reward, "|", color="0.6", markersize=5)
axes.plot(step, value, color="black", label="truth")
for bandwidth, colour in ((0.01, "#E69F00"), (0.08, "#0072B2"), (0.5, "#CC79A7")):
    fit = kvar.KernelRegressor("epanechnikov", bandwidth).fit(step, reward).predict(step)
    error = np.mean((fit - value) ** 2)
    axes.plot(step, fit, color=colour, label=f"h = {bandwidth}, MSE {error:.4f}")
axes.set(xlabel="fraction of training", ylabel="success rate")
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## Choosing without the truth
#
# `select_bandwidth` looks at the rewards only. Its default weighs every candidate by a penalised error and
# averages. The curve shows the score, the shade the weights.

# %%
chosen = kvar.select_bandwidth(step, reward)
axes = chosen.plot()
axes.figure.set_size_inches(7, 3.2)

# %% [markdown]
# How good is the choice? Here the truth is known, so we can compare it with the best bandwidth in hindsight.

# %%
grid = np.geomspace(0.01, 0.5, 40)


def error_at(bandwidth):
    """Mean squared error of the fit against the truth."""
    return np.mean((kvar.KernelRegressor("epanechnikov", bandwidth).fit(step, reward).predict(step) - value) ** 2)


errors = [error_at(h) for h in grid]
best = grid[np.argmin(errors)]
print(f"chosen h = {chosen.bandwidth:.3f}, error {error_at(chosen.bandwidth):.5f}")
print(f"best   h = {best:.3f}, error {min(errors):.5f}")
assert error_at(chosen.bandwidth) < 3 * min(errors)

# %% [markdown]
# ## Training looks back only
#
# A trainer at step i does not know the rewards of step i + 1. With `sided="past"` the estimate uses earlier rewards
# only. It lags behind a value that rises: every point is at the edge of its window, where a local mean has a bias
# of order h. A local line (`degree=1`) removes the lag and pays with variance. Which of them wins depends on the
# speed of the value against the noise of the rewards. The legend gives both errors.

# %%
figure, axes = plt.subplots(figsize=(7, 3.2))
axes.plot(step, value, color="black", label="truth")
seen = step > 0.05
for degree, colour, label in ((0, "#0072B2", "local mean"), (1, "#D55E00", "local line")):
    h = kvar.select_bandwidth(step, reward, sided="past", degree=degree, empty="nearest").bandwidth
    model = kvar.KernelRegressor("epanechnikov", h, degree=degree, sided="past", empty="nearest").fit(step, reward)
    fit = model.predict(step)
    error = np.mean((fit - value)[seen] ** 2)
    axes.plot(step[seen], fit[seen], color=colour, label=f"{label}, h = {h:.2f}, MSE {error:.4f}")
axes.set(xlabel="fraction of training", ylabel="success rate")
axes.legend()
figure.tight_layout()

# %% [markdown]
# **The answer.** The right bandwidth depends on how fast the value moves and how noisy rewards are. The data tell
# both. Looking back only has more error than looking both ways, and needs another bandwidth.
#
# **Try next:** eight rewards a step instead of one (`np.repeat`); `method="loo-cv"` or `"lepski"`; a value that
# jumps; `kvar bandwidth FILE` on the command line for a table of your own.
