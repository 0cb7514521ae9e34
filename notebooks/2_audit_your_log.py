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
# # What would another baseline have done for my run?
#
# ## What you will be able to do
#
# - Audit a log of rollouts without training again.
# - Read the estimated value error of each baseline, with its interval.
# - Take the recommended settings into your trainer.
#
# *For the engineer.* All you need is a log with steps, prompts and rewards.

# %% [markdown]
# ## The question
#
# You have trained already. Which baseline would have served that run better, with which window, and how many
# rollouts a prompt were needed? No new training is needed: a baseline is a function of rollouts, and the log has
# them.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt

import kvar

trace = kvar.read_trace("../kvar/data/demo.parquet")
trace

# %% [markdown]
# The log is a real run of a small language model on sums, four rollouts a prompt. For a log of your own give the
# path of TRL's completions, verl's dumps or any table with step, prompt and reward.
#
# This log has a column `true_value`, which yours does not have. We hide it and look at it at the end.

# %%
hidden = kvar.Trace.from_columns({name: trace.columns[name] for name in ("step", "prompt_id", "rollout", "reward")})
names = ["none", "batch-mean", "group-mean", "leave-one-out", "discounted-beta", "kernel", "adaptive"]
report = kvar.audit(hidden, names)
report.table.select("baseline", "one_step_error", "estimated_value_mse")

# %% [markdown]
# ## How can it know without the truth?
#
# Each value predicts a reward that it has not seen. The expected squared error of the prediction is the noise of
# the reward plus the error of the value. The noise is the same for all baselines, so `one_step_error` ranks them.
# Groups of several rollouts reveal the noise. Subtracting it gives `estimated_value_mse`.

# %%
rows = [row for row in report.rows if row.baseline not in ("none",)][::-1]
figure, axes = plt.subplots(figsize=(7, 3))
for place, row in enumerate(rows):
    score = row.estimated_value_mse
    axes.plot([max(score.low, 1e-3), score.high], [place, place], color="#0072B2")
    axes.plot(score.mean, place, "o", color="#0072B2")
axes.set_yticks(range(len(rows)), [row.label for row in rows])
axes.set(xscale="log", xlabel="estimated mean squared error of the value (95 % interval)")
axes.set_xticks(marks := [0.005, 0.01, 0.02, 0.05], [f"{mark:g}" for mark in marks])
axes.minorticks_off()
figure.tight_layout()

# %% [markdown]
# `kernel` has the paper's window of 10 steps. On this run a prompt comes back after 16, so most of its past lies
# outside the window, and the group mean, which contains the own reward, is ahead. `adaptive` learns its window from
# the run.
#
# ## What it advises

# %%
print(report.recommendation)
for finding in report.findings:
    print(f"- {finding.severity}: {finding}")

# %% [markdown]
# And the lines to paste:

# %%
print(report.lines["TRL"])

# %% [markdown]
# ## One prompt
#
# The audit also judges each prompt by its last visits: solved, stuck, improving, forgotten, or open. It lists them in
# `prompts.parquet`. Here is the curve of the prompt that improves most clearly.

# %%
values = kvar.prompt_values(trace)
print(values.table["verdict"].value_counts(sort=True))
table = values.table.sort(values.table["slope"] / values.table["slope_error"])
values.plot(table["prompt"][-1])

# %% [markdown]
# ## Was it right?
#
# Now the exact values that we hid.

# %%
truth = trace.extras["true_value"]
for name in ("group-mean", "kernel", "adaptive"):
    error = ((kvar.replay(trace, name) - truth) ** 2).mean()
    estimate = next(row.estimated_value_mse for row in report.rows if row.baseline == name)
    print(f"{name:12s} estimated {estimate.mean:.4f} ({estimate.low:.4f} to {estimate.high:.4f}), true {error:.4f}")

# %% [markdown]
# **The answer.** On this run a baseline with a history has a fraction of the group mean's error, and the log alone
# showed it.
#
# **Try next:** `kvar audit PATH` on your own run, which writes one HTML page; `report.windows` for the best window
# of the kernel baseline; `report.group_sizes` for the number of rollouts that each group could have saved.
