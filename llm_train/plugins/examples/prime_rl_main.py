"""prime-rl's orchestrator with another baseline; run it in prime-rl's folder, next to its trainer and inference server.

KVAR_HISTORY=$PWD/outputs/kvar-history.safetensors uv run python -m llm_train.plugins.examples.prime_rl_main \
    @ orchestrator.toml

The settings of its file that matter here:

    group_size = 1        # rollouts per prompt
    [algo]
    type = "grpo"         # the place that our baseline takes
"""

import os

from llm_train.plugins.prime_rl import install


def main() -> None:
    """Install the baseline, then start prime-rl's orchestrator."""
    from prime_rl.entrypoints.orchestrator import main as start

    install(baseline="adaptive", state_path=os.environ.get("KVAR_HISTORY"))
    start()


if __name__ == "__main__":
    main()
