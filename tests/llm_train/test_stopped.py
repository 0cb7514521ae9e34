"""A run that is stopped by hand or by a scheduler leaves a summary and the line to go on with."""

import json
import os
import shlex
import signal

import pytest

from llm_train.commands.train import main as command_line
from llm_train.run import train as running
from llm_train.run.run_files import MetricsFile


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_leaves_a_summary_and_goes_on_by_the_line_that_it_prints(
    tmp_path, monkeypatch, capsys, request, number, status
):
    class Stopping(MetricsFile):
        def on_log(self, args, state, control, logs=None, **kwargs):
            super().on_log(args, state, control, logs, **kwargs)
            if state.global_step == 3:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(running, "MetricsFile", Stopping)
    # A shell starts jobs in the background without it.
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, interrupted))
    flags = (
        f"--output_dir {tmp_path}/run --largest 9 --n_prompts 16 --n_held_out 0 --sft_steps 1 --num_generations 2 "
        "--per_device_train_batch_size 8 --max_completion_length 3 --max_steps 4 --logging_steps 1 --save_steps 2 "
        "--eval_on_start False --hub_token S3CRET"
    )
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        command_line(shlex.split(flags))
    assert stopped.value.code == status
    assert signal.getsignal(signal.SIGTERM) == before
    printed = capsys.readouterr().out
    assert "goes on after checkpoint-2" in printed
    assert "stopped after step" in (tmp_path / "run" / "summary.html").read_text()
    assert not (tmp_path / "run" / "result.json").exists()
    line = printed.rpartition("To go on: ")[2]
    assert "S3CRET" not in line
    program, again = line.split(" train ")
    assert program == "python -m llm_train"
    monkeypatch.undo()
    command_line(shlex.split(again))
    assert json.loads((tmp_path / "run" / "result.json").read_text())["step"] == 4
