"""The baselines as plug-ins of other trainers. For TRL see `llm_train.KAETrainer`.

There is one for verl, SkyRL, slime, NeMo-RL, OpenRLHF and prime-rl each. A plug-in imports its framework only where it
registers with it. All of them use `PromptHistory`, a baseline that counts its own steps and keeps its history on disk,
since none of these frameworks saves a plug-in's state in its checkpoints.
"""

from kvar.utils.extras import needs_extra

with needs_extra("llm"):
    from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["PromptHistory"]
