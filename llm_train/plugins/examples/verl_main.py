"""verl on GSM8K with one rollout per prompt; run it where verl is installed, on data of its GSM8K preprocessing.

python -m llm_train.plugins.examples.verl_main \
    algorithm.adv_estimator=kvar trainer.use_v1=false data.train_files=$HOME/data/gsm8k/train.parquet \
    data.val_files=$HOME/data/gsm8k/test.parquet data.train_batch_size=1024 data.max_prompt_length=512 \
    data.max_response_length=1024 actor_rollout_ref.model.path=Qwen/Qwen2.5-1.5B-Instruct \
    actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.ppo_mini_batch_size=256 \
    actor_rollout_ref.actor.use_kl_loss=false actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=1 \
    trainer.n_gpus_per_node=8 trainer.nnodes=1 trainer.total_epochs=20
"""

from pathlib import Path

import hydra
import ray
from verl.trainer.main_ppo import run_ppo
from verl.trainer.main_ppo_v0 import TaskRunner

from llm_train.plugins.verl import register, use_stable_keys


class KvarTaskRunner(TaskRunner):
    """The trainer process of verl, which registers the estimator before it starts."""

    def run(self, config):
        """Register, then train."""
        checkpoints = Path(config.trainer.default_local_dir).absolute()
        register("kvar", baseline="adaptive", state_path=checkpoints / "kvar-history.safetensors")
        use_stable_keys()
        super().run(config)


@hydra.main(config_path="pkg://verl.trainer.config", config_name="ppo_trainer", version_base=None)
def main(config) -> None:
    """Start verl."""
    run_ppo(config, task_runner_class=ray.remote(num_cpus=1)(KvarTaskRunner))


if __name__ == "__main__":
    main()
