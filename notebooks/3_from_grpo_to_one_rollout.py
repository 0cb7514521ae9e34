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
# # What changes when GRPO runs with one rollout a prompt?
#
# ## What you will be able to do
#
# - Change a TRL script from groups to one rollout a prompt, in three lines.
# - Count the rollouts that a group baseline wastes on your own run.
# - Compare the value error of one rollout and a history with that of a group.
#
# *For the engineer.* Nothing is trained here, so neither TRL nor a GPU is needed.

# %% [markdown]
# ## The three lines
#
# A GRPO script in TRL needs two or more rollouts of a prompt, because the mean of the group is its baseline. With a
# baseline from the prompt's own past it does not.
#
# ```diff
# -from trl import GRPOConfig, GRPOTrainer
# +from llm_train import KAEConfig, KAETrainer
#
# -args = GRPOConfig("run", num_generations=8, per_device_train_batch_size=64)
# +args = KAEConfig("run", num_generations=1, per_device_train_batch_size=64, baseline="adaptive", block_reuse=10)
#
# -trainer = GRPOTrainer(model=model, reward_funcs=reward, train_dataset=data, args=args)
# +trainer = KAETrainer(model=model, reward_funcs=reward, train_dataset=data, args=args)
#  trainer.train()
# ```
#
# With one rollout instead of eight the same 64 rollouts hold 64 prompts instead of 8. `block_reuse=10` keeps them for
# ten steps, so that prompts meet their own past. Advantages are no longer divided by the standard deviation of the
# group: tune the learning rate again. This lesson reads a recorded run and computes both baselines on the same
# rollouts.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

import kvar

trace = kvar.read_trace("../kvar/data/demo.parquet")
advantages = {name: trace.reward - kvar.replay(trace, name) for name in ("group-mean", "adaptive")}

# %% [markdown]
# ## Groups that teach nothing
#
# If all rewards of a group are equal, their mean is each of them and all advantages are zero: these rollouts cost
# time and teach nothing. A baseline with a history knows that a prompt which usually fails has just succeeded.

# %%
names, group = np.unique([f"{s} {p}" for s, p in zip(trace.step, trace.prompt_id, strict=True)], return_inverse=True)
spread = (
    np.bincount(group, trace.reward**2) / np.bincount(group)
    - (np.bincount(group, trace.reward) / np.bincount(group)) ** 2
)
wasted = (spread < 1e-12)[group]
fraction = {name: np.mean(np.abs(a[wasted]) > 0.05) for name, a in advantages.items()}
print(f"{wasted.mean():.0%} of the rollouts are in groups with equal rewards")
for name, found in fraction.items():
    print(f"{name}: {found:.0%} of these have an advantage beyond 0.05")

# %% [markdown]
# ## The same rollout, two advantages

# %%
figure, axes = plt.subplots(figsize=(7, 3))
bins = np.linspace(-1, 1, 41)
for name, colour in (("group-mean", "#D55E00"), ("adaptive", "#D81B60")):
    axes.hist(advantages[name][wasted], bins, histtype="step", linewidth=1.8, color=colour, label=name)
axes.set(xlabel="advantage in groups with equal rewards", ylabel="rollouts", yscale="log")
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## Is one rollout enough?
#
# Keep the first rollout of each group only, as if the run had been made with one. On this run the exact values are
# known.

# %%
first = trace.rollout == 0
single = kvar.Trace.from_columns({name: column[first] for name, column in trace.columns.items()})
for label, run, name in (("group-mean, 4 rollouts", trace, "group-mean"), ("adaptive, 1 rollout", single, "adaptive")):
    error = ((kvar.replay(run, name) - run.extras["true_value"]) ** 2).mean()
    print(f"{label}: value MSE {error:.4f}")

# %% [markdown]
# **The answer.** Three lines change. No group is needed, and no rollout is wasted because the others in its group
# had the same reward. On this run one rollout with a history has less value error than the mean of four.
#
# **Try next:** `python -m llm_train --config llm_train/configs/tiny.yaml` trains the policy behind this log in
# minutes; `AuditCallback.attach(trainer)` records an unchanged GRPO run.
