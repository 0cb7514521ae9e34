"""Settings of a run that takes seconds, for tests."""

from llm_train.run.settings import resolve


def settings(folder, **more):
    """Settings of four steps into a folder."""
    given = {
        "output_dir": str(folder), "largest": 9, "n_prompts": 16, "n_held_out": 8, "sft_steps": 10,
        "num_generations": 2, "per_device_train_batch_size": 8, "max_completion_length": 3, "max_steps": 4,
        "logging_steps": 2, "eval_steps": 2, "save_steps": 2, "learning_rate": 1e-3, "baseline": "adaptive",
    }  # fmt: skip
    return resolve({**given, **more})
