"""SkyRL on GSM8K with one rollout per prompt; run it where SkyRL is installed, as its own examples.

python -m llm_train.plugins.examples.skyrl_main \
    data.train_data="['$HOME/data/gsm8k/train.parquet']" data.val_data="['$HOME/data/gsm8k/validation.parquet']" \
    trainer.algorithm.advantage_estimator=kvar trainer.algorithm.advantage_batch_normalize=false \
    trainer.policy.model.path=Qwen/Qwen2.5-1.5B-Instruct trainer.placement.colocate_all=true trainer.strategy=fsdp2 \
    trainer.train_batch_size=1024 trainer.policy_mini_batch_size=256 trainer.epochs=20 \
    trainer.algorithm.use_kl_loss=false generator.n_samples_per_prompt=1 environment.env_class=gsm8k
"""

import sys
from pathlib import Path

import ray
from skyrl.train.config import SkyRLTrainConfig
from skyrl.train.entrypoints.main_base import BasePPOExp, validate_cfg
from skyrl.train.utils import initialize_ray

from llm_train.plugins.skyrl import register, use_log_probabilities


@ray.remote(num_cpus=1)
def train(config):
    """Train in a process of Ray, which receives a copy of the registered estimator."""
    use_log_probabilities()  # for baselines that need score norms
    BasePPOExp(config).run()


def main() -> None:
    """Register, then start SkyRL."""
    config = SkyRLTrainConfig.from_cli_overrides(sys.argv[1:])
    initialize_ray(config)
    checkpoints = Path(config.trainer.ckpt_path).expanduser().absolute()
    register("kvar", baseline="adaptive", state_path=checkpoints / "kvar-history.safetensors")
    validate_cfg(config)
    ray.get(train.remote(config))


if __name__ == "__main__":
    main()
