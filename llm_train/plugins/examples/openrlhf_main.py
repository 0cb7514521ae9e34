"""OpenRLHF's REINFORCE with one rollout per prompt; run it where OpenRLHF is installed.

KVAR_HISTORY=$PWD/checkpoints/kvar-history.safetensors python -m llm_train.plugins.examples.openrlhf_main \
    --algo.advantage.estimator reinforce --rollout.n_samples_per_prompt 1 --rollout.batch_size 512 \
    --actor.model_name_or_path Qwen/Qwen2.5-1.5B-Instruct --reward.remote_url $PWD/reward.py \
    --data.prompt_dataset $PWD/prompts.jsonl --data.input_key prompt --data.label_key label --data.apply_chat_template \
    --algo.kl.init_coef 0 --vllm.num_engines 8 --train.colocate_all --ckpt.path $PWD/checkpoints
"""

import os
import runpy

import ray

from llm_train.plugins.openrlhf import install


def set_up() -> None:
    """Install the baseline; Ray calls this in each of its processes, of which only the trainer uses it."""
    install(baseline="adaptive", state_path=os.environ.get("KVAR_HISTORY"))


def main() -> None:
    """Start Ray with the hook, then OpenRLHF's own script."""
    names = ("KVAR_HISTORY", "TOKENIZERS_PARALLELISM", "NCCL_DEBUG")
    variables = {name: os.environ[name] for name in names if name in os.environ}
    ray.init(runtime_env={"env_vars": variables, "worker_process_setup_hook": set_up})
    runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")


if __name__ == "__main__":
    main()
