"""The history in a trainer's checkpoint that an earlier version wrote still loads."""

import shutil
from pathlib import Path

import pytest

KEPT = Path(__file__).parent.parent / "kept" / "checkpoints"
TRAINERS = {
    "adaptive-variance-order": {"baseline": "adaptive", "num_generations": 1, "prompt_order": "variance"},
    "critic": {"baseline": "critic", "block_reuse": 2},
    "score-weighted-warm": {
        "baseline": "score-weighted",
        "baseline_kwargs": {"bandwidth": 10},
        "score_norms": "last-layer",
    },
    "basis-warm": {"baseline": "basis", "warm_start_rollouts": 2},
}


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_kept_checkpoint_resumes(kind, make_trainer):
    settings = {"baseline_kwargs": {}, "save_strategy": "steps", "save_steps": 2, **TRAINERS[kind]}
    first = make_trainer("first", max_steps=2, **settings)
    first.train()
    checkpoint = Path(first.args.output_dir, "checkpoint-2")
    kept = KEPT / f"{kind}.safetensors"
    assert (checkpoint / "baseline.safetensors").exists()
    shutil.copy(kept, checkpoint / "baseline.safetensors")
    second = make_trainer("first", max_steps=4, **settings)
    second.train(resume_from_checkpoint=str(checkpoint))
    assert second.state.global_step == 4
