#!/usr/bin/env bash
# slime on DAPO-Math with one rollout per prompt; run it in slime's folder. KVAR_PATH is the folder of kvar.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"

ray job submit --address="http://127.0.0.1:8265" \
  --runtime-env-json="{\"env_vars\": {\"PYTHONPATH\": \"/root/Megatron-LM:${KVAR_PATH:?set it to the folder of kvar}\"}}" -- \
  python3 train.py \
  --hf-checkpoint /root/Qwen3-4B --ref-load /root/Qwen3-4B_torch_dist --load /root/Qwen3-4B_slime --save /root/Qwen3-4B_slime \
  --prompt-data /root/dapo-math-17k/dapo-math-17k.jsonl --input-key prompt --label-key label --apply-chat-template \
  --rollout-shuffle --rm-type deepscaler \
  --num-rollout 3000 --rollout-batch-size 256 --n-samples-per-prompt 1 --global-batch-size 256 \
  --rollout-max-response-len 8192 --rollout-temperature 1 \
  --advantage-estimator grpo --eps-clip 0.2 --eps-clip-high 0.28 \
  --custom-reward-post-process-path llm_train.plugins.slime.post_process_rewards \
  --custom-config-path "$HERE/slime.yaml" \
  --optimizer adam --lr 1e-6 --lr-decay-style constant --weight-decay 0.1 \
  --actor-num-nodes 1 --actor-num-gpus-per-node 8 --colocate \
  --tensor-model-parallel-size 2 --sequence-parallel --use-dynamic-batch-size --max-tokens-per-gpu 9216 \
  --rollout-num-gpus-per-engine 2 --sglang-mem-fraction-static 0.7
