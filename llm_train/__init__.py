"""Fine-tuning of language models with kernel estimates of the value, on top of TRL."""

from llm_train.audit_callback import AuditCallback
from llm_train.config import KAEConfig
from llm_train.trainer import KAETrainer

__all__ = ["AuditCallback", "KAEConfig", "KAETrainer"]
