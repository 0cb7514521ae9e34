"""NeMo-RL's GRPO example with one rollout per prompt; run it in NeMo-RL's folder, with kvar on PYTHONPATH.

uv run python -m llm_train.plugins.examples.nemo_rl_main --config examples/configs/grpo_math_1B.yaml \
    grpo.num_generations_per_prompt=1 grpo.num_prompts_per_step=512 ++grpo.adv_estimator.name=grpo \
    ++grpo.adv_estimator.baseline=adaptive ++grpo.adv_estimator.state_path=$PWD/results/grpo/kvar-history.safetensors \
    ++grpo.adv_estimator.pad_token_id=151643
"""

import runpy

import nemo_rl.algorithms.grpo

from llm_train.plugins.nemo_rl import install


def main() -> None:
    """Replace the estimator, then run NeMo-RL's own script."""
    install(nemo_rl.algorithms.grpo)
    runpy.run_path("examples/run_grpo.py", run_name="__main__")


if __name__ == "__main__":
    main()
