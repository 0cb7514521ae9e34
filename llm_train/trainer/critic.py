"""The value-network route (A2C, PPO): a baseline learned by regression on rewards, with a network of its own.

The value is that of the prompt, read at its last token, as in all of this package: it never sees the completion, so the
policy gradient stays unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel

from kvar import Baseline, make_baseline
from kvar.baselines.score_weighted import ScoreWeighted
from kvar.rollouts.batch import Batch
from llm_train.policy.prompt_features import last_states

__all__ = ["Critic", "CriticBaseline", "make_trainer_baseline"]

_KINDS = ("head", "network")


@dataclass
class CriticBaseline(Baseline):
    """What a value network says, given with the rewards as ``critic_value``.

    Parameters
    ----------
    kind : {"head", "network"}
        A linear head on the policy's last hidden state, which is read and not moved, or a transformer of two layers and
        width 128 that reads the prompt's tokens.
    learning_rate : float
        Of Adam.
    epochs : int
        Regression steps on each batch of rewards.
    """

    name: ClassVar[str] = "critic"
    needs: ClassVar[tuple[str, ...]] = ("critic_value",)
    kind: str = "head"
    learning_rate: float = 1e-3
    epochs: int = 4

    def __post_init__(self):
        if self.kind not in _KINDS:
            raise ValueError(f"kind of a critic must be 'head' or 'network', got {self.kind!r}")
        if not self.learning_rate > 0 or self.epochs < 1:
            raise ValueError(
                "a critic needs a positive learning_rate and at least one epoch, got "
                f"{self.learning_rate} and {self.epochs}"
            )

    def values(self, batch: Batch) -> np.ndarray:
        """The given values."""
        return batch.columns["critic_value"]


def make_trainer_baseline(name: str, **parameters) -> Baseline:
    """Make a baseline that the trainer knows: a registered one, or one that needs what only a trainer has."""
    own = {baseline.name: baseline for baseline in (CriticBaseline, ScoreWeighted)}
    if name not in own:
        return make_baseline(name, **parameters)
    known = own[name].parameter_names()
    unknown = [key for key in parameters if key not in known]
    if unknown:
        raise ValueError(f"baseline {name!r} takes {', '.join(known)}; got {unknown[0]!r}")
    return own[name](**parameters)


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
        # Tokens are shifted by one, so that 0 is padding.
        mask = tokens > 0
        hidden = self.body(input_ids=(tokens - 1).clamp(min=0), attention_mask=mask.long()).last_hidden_state
        return self.head(hidden[:, -1])


class Critic:
    """The network behind `CriticBaseline`.

    Parameters
    ----------
    baseline : CriticBaseline
        With its parameters.
    model : transformers.PreTrainedModel
        The policy; gives sizes.
    device : torch.device
        Where it lives.
    seed : int
        Of its weights. Every process makes the same network and learns from the same gathered rewards.

    Attributes
    ----------
    kind : str
        As of the baseline.
    """

    def __init__(self, baseline: CriticBaseline, model, device, seed: int):
        self.kind, self._epochs = baseline.kind, baseline.epochs
        config = model.config.get_text_config()
        # On every device: the streams of several processes differ, and so must what they sample.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            if self.kind == "head":
                self.network = nn.Linear(config.hidden_size, 1)
            else:
                self.network = _Network(config.vocab_size, config.max_position_embeddings)
        final = self.network if self.kind == "head" else self.network.head
        nn.init.zeros_(final.weight), nn.init.zeros_(final.bias)
        self.network.to(device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=baseline.learning_rate)

    @property
    def n_bytes(self) -> int:
        """Memory of weights, gradients and Adam's two moments."""
        return 4 * sum(p.numel() * p.element_size() for p in self.network.parameters())

    def features(self, model, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What the network reads of some prompts."""
        if self.kind == "network":
            return (tokens + 1) * mask
        rows, back = torch.unique(torch.cat([tokens, mask], dim=1), dim=0, return_inverse=True)
        return last_states(model, *rows.chunk(2, dim=1), layer=-1)[back]

    def values(self, features: torch.Tensor) -> torch.Tensor:
        """Values of prompts."""
        with torch.no_grad():
            return self.network(features).squeeze(1)

    def learn(self, features: torch.Tensor, rewards: torch.Tensor) -> None:
        """Regress on a batch of rewards."""
        scored = ~torch.isnan(rewards)
        if not scored.any():
            return
        for _ in range(self._epochs):
            error = self.network(features[scored]).squeeze(1) - rewards[scored]
            self._optimizer.zero_grad()
            error.square().mean().backward()
            self._optimizer.step()

    def state_dict(self) -> dict:
        """All that `load_state_dict` needs to continue."""

        def copied(entry):
            return {name: value.detach().cpu().numpy().copy() for name, value in entry.items()}

        moments = self._optimizer.state_dict()["state"]
        return {
            "weights": copied(self.network.state_dict()),
            "moments": {str(k): copied(entry) for k, entry in moments.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue where another one stood."""

        def copied(entry):
            return {name: torch.tensor(value) for name, value in entry.items()}

        self.network.load_state_dict(copied(state["weights"]))
        optimizer = self._optimizer.state_dict()
        optimizer["state"] = {int(k): copied(entry) for k, entry in state["moments"].items()}
        self._optimizer.load_state_dict(optimizer)
