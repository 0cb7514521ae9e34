"""The recommendation as settings of each trainer."""

from __future__ import annotations

from kvar.auditing.findings import AuditRow
from kvar.baselines import baseline_class

__all__ = ["trainer_settings"]

_SCALE = "# Advantages are not divided by the standard deviation of the group: tune the learning rate again."
_GRPO = "# This is GRPO, as GRPOTrainer has it: there is no other learning rate to look for."


def trainer_settings(chosen: AuditRow, size: int, reuse: int) -> dict[str, str]:
    """Lines to paste, by trainer: for a baseline, a group size and the steps a batch of prompts is kept for."""
    parameters = {} if chosen.label == chosen.baseline else chosen.parameters
    named = ", ".join([f'"{chosen.baseline}"', *(f"{name}={value!r}" for name, value in parameters.items())])
    kind = baseline_class(chosen.baseline)
    columns = "".join(f", {name}={name}" for name in kind.needs)
    trl = [f"num_generations={size}", f'baseline="{chosen.baseline}"']
    trl += [f"baseline_kwargs={parameters!r}"] if parameters else []
    grpo = chosen.baseline == "group-mean"
    trl += ['scale_rewards="group"'] if grpo else []
    trl += [f"block_reuse={reuse}"] if reuse > 1 and kind.has_history() else []
    lines = {
        "TRL": (
            "from llm_train import KAEConfig, KAETrainer  # in place of GRPOConfig, GRPOTrainer\n"
            f"args = KAEConfig(..., {', '.join(trl)})"
        ),
        "SkyRL": (
            "from llm_train.plugins.skyrl import register\n"
            f'register("kvar", baseline={named})  # in the script that starts the training\n'
            "# trainer.algorithm.advantage_estimator=kvar trainer.algorithm.advantage_batch_normalize=false\n"
            f"# generator.n_samples_per_prompt={size}"
        ),
        "slime": (
            f"--n-samples-per-prompt {size} --advantage-estimator grpo --custom-config-path kvar.yaml\n"
            "--custom-reward-post-process-path llm_train.plugins.slime.post_process_rewards\n"
            f"# kvar.yaml\nkvar_baseline: {chosen.baseline}\nkvar_baseline_kwargs: {parameters!r}"
        ),
        "verl": (
            "from llm_train.plugins.verl import register, use_stable_keys\n"
            f'register("kvar", baseline={named})  # in the process of the trainer\n'
            "use_stable_keys()  # verl's own names of prompts change at every step\n"
            f"# algorithm.adv_estimator=kvar trainer.use_v1=false actor_rollout_ref.rollout.n={size}"
        ),
        "your own loop": (
            f"baseline = kvar.make_baseline({named})\n"
            f"advantages = baseline.advantages(prompt_ids, rewards, step{columns})"
        ),
    }
    return {trainer: f"{text}\n{_GRPO if grpo and trainer == 'TRL' else _SCALE}" for trainer, text in lines.items()}
