"""verl on GSM8K with one rollout per prompt; run it where verl is installed, on data of its GSM8K preprocessing.

VERL_USE_EXTERNAL_MODULES=llm_train.plugins.examples.verl_main KVAR_HISTORY=$PWD/checkpoints/kvar-history.safetensors \
python -m verl.trainer.main_ppo \
    algorithm.adv_estimator=kvar data.train_files=$HOME/data/gsm8k/train.parquet \
    data.val_files=$HOME/data/gsm8k/test.parquet data.train_batch_size=1024 data.max_prompt_length=512 \
    data.max_response_length=1024 actor_rollout_ref.model.path=Qwen/Qwen2.5-1.5B-Instruct \
    actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.ppo_mini_batch_size=256 \
    actor_rollout_ref.actor.use_kl_loss=false actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=1 \
    trainer.n_gpus_per_node=8 trainer.nnodes=1 trainer.total_epochs=20

verl imports the module of that variable in each of its processes. Only the trainer's calls the estimator, reads the
history and writes it. On a running Ray cluster set both variables in ``ray_kwargs.ray_init.runtime_env.env_vars``.
"""

import os

from llm_train.plugins.verl import register, use_stable_keys

register("kvar", baseline="adaptive", state_path=os.environ.get("KVAR_HISTORY"))
use_stable_keys()
