"""Fine-tuning of language models with kernel estimates of the value, on top of TRL."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kvar.utils.extras import needs_extra

if TYPE_CHECKING:
    from llm_train.trainer.attach import attach, one_rollout
    from llm_train.trainer.audit_callback import AuditCallback
    from llm_train.trainer.config import KAEConfig
    from llm_train.trainer.kae_trainer import KAETrainer

__all__ = ["AuditCallback", "KAEConfig", "KAETrainer", "attach", "one_rollout"]

_HOMES = {
    "AuditCallback": "audit_callback",
    "KAEConfig": "config",
    "KAETrainer": "kae_trainer",
    "attach": "attach",
    "one_rollout": "attach",
}


def __getattr__(name: str):
    # Imported only when asked for: code that reads results needs neither torch nor TRL.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needs_extra("llm"):
        return getattr(import_module(f"llm_train.trainer.{_HOMES[name]}"), name)
