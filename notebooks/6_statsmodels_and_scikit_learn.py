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
# # The same numbers as statsmodels and scikit-learn
#
# ## What you will be able to do
#
# - Find the tool of `kvar` for what you do with `KernelReg`, `lowess`, `cross_val_score` and `GridSearchCV`.
# - See that they give the same numbers where they should.
# - Ask what they do not answer: one curve for each prompt, its slope with an error, rollouts that share a step.
#
# *For the statistician.* No knowledge of reinforcement learning is needed.

# %% [markdown]
# ## The question
#
# Which of the tools that you know does which job here, and can the results be trusted? The rewards below are those of
# one prompt, four tries a step.

# %%
# %matplotlib inline
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, LeaveOneOut, cross_val_score
from statsmodels.nonparametric.kernel_regression import KernelReg
from statsmodels.nonparametric.smoothers_lowess import lowess

import kvar

warnings.simplefilter("ignore", FutureWarning)  # statsmodels announces a change
rng = np.random.default_rng(8)
step = np.repeat(np.arange(60.0), 4)
value = 0.5 + 0.3 * np.sin(step / 15)
reward = value + 0.15 * rng.standard_normal(step.size)
at = np.linspace(5, 55, 6)

# %% [markdown]
# ## `KernelReg`: estimates and slopes
#
# The Gaussian bandwidth is the standard deviation in both. `reg_type` is our `degree`. What statsmodels calls marginal
# effects is `derivative=1`.

# %%
for reg_type, degree in (("lc", 0), ("ll", 1)):
    theirs, effects = KernelReg(reward, step, "c", reg_type=reg_type, bw=[4.0]).fit(at)
    model = kvar.KernelRegressor("gaussian", bandwidth=4.0, degree=degree).fit(step, reward)
    ours = model.predict(at)
    print(reg_type, np.round(theirs, 4), "kvar", np.round(ours, 4))
    assert np.allclose(ours, theirs, rtol=1e-10)
slopes = model.predict(at, derivative=1)
print("slopes", np.round(effects.ravel(), 4), "kvar", np.round(slopes, 4))
assert np.allclose(slopes, effects.ravel(), rtol=1e-8)

# %% [markdown]
# ## `bw="cv_ls"` and `bw="aic"`: the choice of a bandwidth
#
# statsmodels minimises by Nelder and Mead. `select_bandwidth` looks at 50 candidates, and with `refine=True` between
# the best ones.

# %%
for theirs, ours in (("cv_ls", "loo-cv"), ("aic", "aicc")):
    chosen = KernelReg(reward, step, "c", reg_type="lc", bw=theirs).bw[0]
    refined = kvar.select_bandwidth(step, reward, ours, kernel="gaussian", refine=True).bandwidth
    print(f"{theirs}: {chosen:.3f}, {ours}: {refined:.3f}")
    assert abs(refined / chosen - 1) < 0.01

# %% [markdown]
# ## `lowess`: robust local lines
#
# `lowess` takes a fraction of the observations for a window, we take a width. On even points, away from the ends,
# these are the same, and so are the numbers. `it` is our `robust_iterations`. Near the ends `lowess` widens its window.
# That changes the scale by which it judges residuals, so that the robust fits differ a little.

# %%
x = np.arange(300.0)
heavy = np.sin(x / 40) + 0.2 * rng.standard_t(2, x.size)
inside = slice(40, 260)
for iterations in (0, 3):
    theirs = lowess(heavy, x, frac=41 / 300, it=iterations, return_sorted=False)
    ours = kvar.KernelRegressor("tricube", 20.0, degree=1, robust_iterations=iterations).fit(x, heavy).predict(x)
    difference = np.max(np.abs(ours - theirs)[inside])
    print(f"{iterations} iterations: largest difference inside {difference:.4f}")
    assert difference < (1e-10, 0.01)[iterations > 0]

# %% [markdown]
# ## `cross_val_score`: the same errors, and much sooner
#
# The scores of `loo-cv` are those of `LeaveOneOut`. Tries of one step share it, so that they predict each other; the
# scores of `leave-one-step-out` are those of `LeaveOneGroupOut`. scikit-learn fits once a fold, here 240 and 60 times.

# %%
grid = [2.5, 5.0, 10.0, 20.0]
for method, cv in (("loo-cv", LeaveOneOut()), ("leave-one-step-out", LeaveOneGroupOut())):
    ours = kvar.select_bandwidth(step, reward, method, grid=grid).scores
    groups = step if method == "leave-one-step-out" else None
    theirs = []
    for h in grid:
        model = kvar.KernelRegressor("epanechnikov", h)
        scores = cross_val_score(model, step[:, None], reward, cv=cv, groups=groups, scoring="neg_mean_squared_error")
        theirs.append(-scores.mean())
    print(f"{method}: {np.round(theirs, 5)}, kvar {np.round(ours, 5)}")
    assert np.allclose(ours, theirs, rtol=1e-10)

# %% [markdown]
# `KernelRegressor` is a scikit-learn regressor, so that `GridSearchCV` takes it as it is, and chooses the same.

# %%
search = GridSearchCV(
    kvar.KernelRegressor("epanechnikov"), {"bandwidth": grid}, cv=LeaveOneGroupOut(), scoring="neg_mean_squared_error"
)
search.fit(step[:, None], reward, groups=step)
ours = kvar.select_bandwidth(step, reward, "leave-one-step-out", grid=grid).bandwidth
print(f"GridSearchCV {search.best_params_['bandwidth']}, kvar {ours}")
assert search.best_params_["bandwidth"] == ours

# %% [markdown]
# ## Beyond them: many prompts, slopes with errors, a picture
#
# Two prompts get one bandwidth, chosen over both, and a curve each: windows stay within a series.

# %%
prompts = np.repeat(["sum", "product"], step.size)
steps = np.tile(step, 2)
truth = {"sum": lambda s: 0.5 + 0.3 * np.sin(s / 15), "product": lambda s: 0.2 + 0.004 * s}
rewards = (rng.random(steps.size) < np.concatenate([curve(step) for curve in truth.values()])).astype(float)
chosen = kvar.select_bandwidth(steps, rewards, groups=prompts)
model = kvar.KernelRegressor("epanechnikov", chosen.bandwidth, degree=1).fit(steps, rewards, groups=prompts)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for ax, (prompt, curve) in zip(axes, truth.items(), strict=True):
    model.plot(group=prompt, truth=curve, ax=ax)
    ax.set(title=prompt, xlabel="step")
figure.tight_layout()

# %% [markdown]
# Is a prompt still improving? The slope at step 45, with its 95 % limits. A slope varies more than the curve, and
# wants a wider window. The true slopes are -0.020 and +0.004.

# %%
model = kvar.KernelRegressor("epanechnikov", 20.0, degree=1).fit(steps, rewards, groups=prompts)
band = model.confidence_band([45.0, 45.0], groups=["sum", "product"], derivative=1)
for prompt, low, slope, high in zip(truth, band.lower, band.estimate, band.upper, strict=True):
    print(f"{prompt}: {slope:+.4f} a step ({low:+.4f} to {high:+.4f})")

# %% [markdown]
# **The answer.** Estimates, slopes, cross-validation errors and choices are those of statsmodels and scikit-learn to
# rounding. `kvar` adds windows that look back only, many series, errors for slopes, and cost that grows like n.
#
# **Try next:** `degree=2` with `derivative=2`; `noise="local"` and `variance_function`; `select_bandwidth` with
# `sided="past"`; your own table in pandas, with dates for x.
