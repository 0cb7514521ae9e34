"""The baselines inside other trainers: SkyRL, slime, verl and NeMo-RL. For TRL see `llm_train.KAETrainer`.

Each module imports its framework only where it registers with it. All share `PromptHistory`: a baseline with a step of
its own that is kept on disk, since none of these frameworks saves a plug-in's state with its checkpoints.
"""

from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["PromptHistory"]
