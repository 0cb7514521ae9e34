"""A checkpoint whose files are cut off, missing or of another run is refused by name."""

import json
import shutil

import pytest

from llm_train.trainer.state_file import load_state, save_state
from tests.llm_train.conftest import checkpoint_of

SAVED = {"save_strategy": "steps", "save_steps": 1, "baseline": "adaptive"}
HISTORY = "baseline.safetensors"


@pytest.fixture
def checkpoints(make_trainer):
    trainers = [make_trainer(name, max_steps=2, **SAVED) for name in ("one", "other")]
    for trainer in trainers:
        trainer.train()

    def resume(checkpoint):
        again = make_trainer("one", max_steps=3, **SAVED)
        again.train(resume_from_checkpoint=str(checkpoint))
        return again

    one, other = trainers
    return checkpoint_of(one, 1), checkpoint_of(one, 2), checkpoint_of(other, 2), resume


def test_what_does_not_belong_to_a_checkpoint_is_refused(checkpoints, tmp_path):
    earlier, last, foreign, resume = checkpoints
    kept = shutil.copytree(last, tmp_path / "kept" / last.name)

    def refused(message, change):
        shutil.rmtree(last)
        shutil.copytree(kept, last)
        change()
        with pytest.raises(ValueError, match=message) as error:
            resume(last)
        assert "resume" in str(error.value)

    refused(
        r"baseline\.safetensors is the history at step 1, in a checkpoint of step 2",
        lambda: shutil.copy(earlier / HISTORY, last),
    )
    refused(r"baseline\.safetensors is the history of another run", lambda: shutil.copy(foreign / HISTORY, last))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "model.safetensors"):
        content = (kept / name).read_bytes()
        refused(f"{name} is damaged", lambda name=name, cut=content[:-100]: (last / name).write_bytes(cut))
    refused(r"optimizer\.pt is missing", lambda: (last / "optimizer.pt").unlink())
    refused(r"trainer_state\.json", lambda: (last / "trainer_state.json").write_text("{"))

    def of_two_processes():
        save_state({**load_state(last / HISTORY), "processes": 2}, last / HISTORY)

    refused("written by 2 processes, but 1 would go on.* resume with 2", of_two_processes)

    def impossible_count():
        state = load_state(last / HISTORY)
        state["baseline"]["state"]["history"]["counts"][0, 0] = 1e308
        save_state(state, last / HISTORY)

    shutil.rmtree(last)
    shutil.copytree(kept, last)
    impossible_count()
    with pytest.raises(ValueError, match="counts of a history"):
        resume(last)

    # Undamaged it goes on, under the name of its run.
    shutil.rmtree(last)
    shutil.copytree(kept, last)
    resume(last)
    names = {load_state(path / HISTORY)["run"] for path in (earlier, last, last.with_name("checkpoint-3"))}
    assert len(names) == 1
    state = json.loads((last / "trainer_state.json").read_text())
    assert {state["stateful_callbacks"]["RunName"]["args"]["run"]} == names
