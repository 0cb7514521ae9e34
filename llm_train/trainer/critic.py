"""A value network as the baseline, as in A2C and PPO: learned by regression on rewards.

The value is that of the prompt, read at its last token, as in all of this package. The network never sees the
completion, so the policy gradient stays unbiased.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel

from kvar import Baseline
from kvar.baselines import register_baseline
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_count, checked_keys
from llm_train.policy.prompt_features import last_states

__all__ = ["CriticBaseline", "critic_values"]

_KINDS = ("head", "network")


@register_baseline
@dataclass
class CriticBaseline(Baseline):
    """A value network, trained on the rewards of each batch.

    Its values come with the rewards as the column ``critic_value``: from `read` in training, from the trace in a
    replay.

    Parameters
    ----------
    kind : {"head", "network"}
        A linear head on the policy's last hidden state, through which no gradient reaches the policy; or a transformer
        of two layers and width 128 on the prompt's tokens.
    learning_rate : float
        Learning rate of Adam.
    epochs : int
        Regression steps on each batch of rewards.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    name: ClassVar[str] = "critic"
    needs: ClassVar[tuple[str, ...]] = ("critic_value",)
    kind: Literal["head", "network"] = "head"
    learning_rate: float = 1e-3
    epochs: int = 4
    network: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self):
        if self.kind not in _KINDS:
            raise ValueError(f"kind of a critic must be 'head' or 'network', got {self.kind!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate of a critic must be positive, got {self.learning_rate!r}")
        checked_count(self.epochs, "epochs of a critic")
        # Features of the prompts whose rewards come next, shape (n, d).
        self._features: torch.Tensor | None = None

    def build(self, model, device: torch.device, seed: int) -> None:
        """Make the network for a policy, the same on every process; all then learn from the same gathered rewards."""
        config = model.config.get_text_config()
        # The seed is restored afterwards: processes must sample different completions.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            if self.kind == "head":
                final = network = nn.Linear(config.hidden_size, 1)
            else:
                network = _Network(config.vocab_size, config.max_position_embeddings)
                final = network.head
        nn.init.zeros_(final.weight), nn.init.zeros_(final.bias)
        self._set_network(network.to(device))

    def _set_network(self, network: nn.Module) -> None:
        self.network = network
        self._optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)

    @property
    def n_bytes(self) -> int:
        """Memory of the weights, their gradients and Adam's two moments, in bytes."""
        return 4 * sum(p.numel() * p.element_size() for p in self.network.parameters())

    def read(self, model, tokens: torch.Tensor, mask: torch.Tensor, gather=lambda features: features) -> torch.Tensor:
        """Values of the prompts whose rewards come next, one per rollout; tokens are padded on the left, shape (n, L).

        `gather` concatenates the features of all processes, in the order in which the rewards come.
        """
        self._features = gather(self._features_of(model, tokens, mask))
        with torch.no_grad():
            return self.network(self._features).squeeze(1)

    def _features_of(self, model, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.kind == "network":
            return (tokens + 1) * mask  # 0 is padding
        rows, back = torch.unique(torch.cat([tokens, mask], dim=1), dim=0, return_inverse=True)
        return last_states(model, *rows.chunk(2, dim=1), layer=-1)[back]

    def values(self, batch: Batch) -> np.ndarray:
        """The column ``critic_value``."""
        return batch.columns["critic_value"]

    def learn(self, batch: Batch) -> None:
        """Regress on the batch's rewards, if its prompts were read before; a replay teaches nothing."""
        features, self._features = self._features, None
        if features is None:
            return
        rewards = torch.as_tensor(batch.to_rows(batch.rewards).ravel(), dtype=torch.float32, device=features.device)
        scored = ~torch.isnan(rewards)
        if not scored.any():
            return
        for _ in range(self.epochs):
            error = self.network(features[scored]).squeeze(1) - rewards[scored]
            self._optimizer.zero_grad()
            error.square().mean().backward()
            self._optimizer.step()

    def _state(self) -> dict:
        if self.network is None:
            return {}

        def copied(entry):
            return {name: value.detach().cpu().numpy().copy() for name, value in entry.items()}

        moments = self._optimizer.state_dict()["state"]
        return {
            "weights": copied(self.network.state_dict()),
            "moments": {str(k): copied(entry) for k, entry in moments.items()},
        }

    def _load_state(self, state: dict) -> None:
        if self.network is None:
            checked_keys(state, (), "the state of a critic without a policy")
            return

        def copied(entry):
            return {name: torch.tensor(value) for name, value in entry.items()}

        checked_keys(state, ("weights", "moments"), "the state of a critic")
        optimizer = self._optimizer.state_dict()
        optimizer["state"] = {int(k): copied(entry) for k, entry in state["moments"].items()}
        try:
            self.network.load_state_dict(copied(state["weights"]))
        except RuntimeError as error:
            raise ValueError(f"it belongs to a network of another shape: {error}") from None
        self._optimizer.load_state_dict(optimizer)

    def _fresh(self) -> CriticBaseline:
        other = super()._fresh()
        if self.network is not None:
            other._set_network(copy.deepcopy(self.network))
        return other


class _Network(nn.Module):
    """A small transformer over the prompt's tokens, padded on the left, with a value at the last one."""

    def __init__(self, vocabulary: int, longest: int):
        super().__init__()
        self.body = LlamaModel(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=128,
                intermediate_size=256,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=longest,
                use_cache=False,
            )
        )
        self.head = nn.Linear(128, 1)

    def forward(self, tokens):
        mask = tokens > 0
        hidden = self.body(input_ids=(tokens - 1).clamp(min=0), attention_mask=mask.long()).last_hidden_state
        return self.head(hidden[:, -1])


def critic_values(critic: CriticBaseline, trainer, output: Mapping) -> torch.Tensor:
    """The critic's values of the prompts of all N rollouts of a generation, in all processes."""
    accelerator = trainer.accelerator

    def gather(features):
        if critic.kind == "network":  # its features are the tokens, of different width on each process
            features = accelerator.pad_across_processes(features, dim=1, pad_first=True)
        return accelerator.gather(features)

    return critic.read(trainer.model, output["prompt_ids"], output["prompt_mask"], gather)
