"""No secret of a run is in any file that it leaves, in any message, or where settings are shown."""

import copy
import dataclasses
import json
import pickle
import subprocess
import sys

import pytest
import torch
from trl import ModelConfig

from llm_train import KAEConfig
from llm_train.commands.train import main as command_line
from llm_train.run.settings import RunSettings, given_settings, make_parser, resolve
from llm_train.run.summary_page import write_summary
from llm_train.run.train import train
from llm_train.secret_settings import is_secret_name, masked, masked_text
from llm_train.tasks.run_arguments import RunArguments
from tests.llm_train.conftest import ON_CPU
from tests.llm_train.tiny_run import settings

CLEAR = "S3CRET"


def secret(name):
    return f"{CLEAR}-{name}-0123456789"


def nested(name):
    """A secret in every shape in which a setting may hold one."""
    return {
        "token": secret(name),
        "headers": {"Authorization": f"Bearer {secret(name)}", "x-api-key": secret(name)},
        "servers": [{"url": f"https://user:{secret(name)}@host/path", "clientSecret": secret(name)}],
        "options": f"--password {secret(name)} wandb_api_key={secret(name)}",
        "private_key": [secret(name)],
        "access_key": {"id": secret(name)},
        "harmless": "kept",
    }


def _annotations(base):
    return vars(base).get("__annotations__", {})


def fill(config):
    """Fill in all that may hold a secret: by its name, by its type, or text in which one may stand."""
    names = []
    # As they are written: a parser of arguments changes the types of the fields.
    written = {name: str(kind) for base in reversed(type(config).__mro__) for name, kind in _annotations(base).items()}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kind = written[field.name]
        if is_secret_name(field.name):
            setattr(config, field.name, secret(field.name))
        elif "dict" in kind.lower() or "Any" in kind:
            text = json.dumps(nested(field.name))
            setattr(config, field.name, text if len(names) % 2 and "str" in kind else nested(field.name))
        elif "str" in kind and not isinstance(value, str) and value is None:
            setattr(config, field.name, f"https://user:{secret(field.name)}@host")
        else:
            continue
        names.append(field.name)
    return names


def test_every_setting_of_every_library_is_masked_in_the_file_of_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_SERVICE_API_KEY", secret("environment"))
    training = KAEConfig(output_dir=str(tmp_path), run_name=f"run of {secret('environment')}", **ON_CPU)
    parts = (RunArguments(), ModelConfig(), training)
    names = [name for part in parts for name in fill(part)]
    assert {"hub_token", "model_init_kwargs", "vllm_server_base_url", "deepspeed", "task_kwargs"} <= set(names)
    given = {"hub_token": secret("hub_token"), "model_init_kwargs": json.dumps(nested("given")), "seed": 7}
    RunSettings(given, *parts).save(tmp_path / "config.json")
    (tmp_path / "result.json").write_text("{}")
    write_summary(tmp_path)
    for name in ("config.json", "summary.html"):
        text = (tmp_path / name).read_text()
        assert CLEAR not in text
        assert "HUB_TOKEN" in text
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["given"]["seed"] == 7
    assert "kept" in saved["given"]["model_init_kwargs"]
    assert CLEAR not in repr(training.to_dict()) + repr(RunSettings(given, *parts))


def test_a_config_shows_and_pickles_masks_but_logs_in_with_the_secret(tmp_path):
    inside = {"model_init_kwargs": nested("model"), "generation_kwargs": {"token": secret("generation")}}
    config = KAEConfig(output_dir=str(tmp_path), hub_token=secret("hub"), **inside, **ON_CPU)
    torch.save(config, tmp_path / "training_args.bin")
    for shown in (repr(config), str(config), config.to_json_string(), f"{config.to_sanitized_dict()}"):
        assert CLEAR not in shown
    assert CLEAR.encode() not in (tmp_path / "training_args.bin").read_bytes() + pickle.dumps(config)
    assert pickle.loads(pickle.dumps(config)).hub_token == "<HUB_TOKEN>"
    for one in (config, copy.copy(config), copy.deepcopy(config)):
        assert one.hub_token == secret("hub")
        assert f"Bearer {one.hub_token}" == f"Bearer {secret('hub')}"
        assert one.model_init_kwargs == nested("model")


def test_no_file_of_a_run_holds_a_secret(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", secret("environment"))
    more = {
        "hub_token": secret("hub"),
        "vllm_server_base_url": f"http://user:{secret('server')}@localhost",
        "model_init_kwargs": {"token": secret("model")},
        "chat_template_kwargs": {"api_key": secret("template")},
        "run_name": f"run {secret('environment')}",
        "log_completions_hub_repo": None,
        "max_steps": 2,
        "sft_steps": 1,
    }
    train(settings(tmp_path / "run", **more))
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"training_args.bin", "config.json", "summary.html", "metrics.jsonl"} <= {path.name for path in files}
    for path in files:
        assert CLEAR.encode() not in path.read_bytes(), path
    # A new token resumes the run; another setting does not, and the message shows none.
    again = settings(tmp_path / "run", **{**more, "resume": True, "hub_token": secret("new")})
    train(again)
    with pytest.raises(ValueError, match="seed was None, now 9") as refused:
        train(settings(tmp_path / "run", **{**more, "resume": True, "seed": 9}))
    printed = capsys.readouterr()
    assert CLEAR not in str(refused.value) + printed.out + printed.err


@pytest.mark.parametrize(
    "flags",
    [
        ["--hub_tokn", secret("misspelt")],
        ["--hub_token", secret("hub"), "--baseline_kwargs", f'{{"token": "{secret("nested")}"'],
        ["--seed", f"password={secret('number')}"],
    ],
)
def test_errors_of_the_command_line_hold_no_secret(tmp_path, flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line(["--output_dir", str(tmp_path / "run"), *flags])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert flags[-2].lstrip("-") in said
    assert CLEAR not in said


def test_a_broken_file_of_settings_is_shown_without_its_secrets(tmp_path):
    (tmp_path / "run.yaml").write_text(f'seed: 1\nhub_token: "{secret("hub")}\n')
    with pytest.raises(ValueError, match="not valid YAML") as refused:
        given_settings(make_parser(), (), tmp_path / "run.yaml")
    assert CLEAR not in masked_text(str(refused.value))


def test_what_only_sounds_like_a_secret_stays():
    plain = {
        "max_tokens": 5, "eos_token": "</s>", "num_input_tokens_seen": True, "prompt_key": "id", "sort_keys": "a",
        "pass_at": [1, 4], "author": "me", "use_auth_token": False, "token": None, "url": "https://host/path?page=2",
        "text": "a token of thanks, the key to it", "monkey": 1, "keyboard": "qwerty",
    }  # fmt: skip
    assert masked(plain) == plain
    config = resolve({"baseline_kwargs": {"bandwidth": 5}, "baseline": "kernel"})
    assert config.training.to_dict()["baseline_kwargs"] == {"bandwidth": 5}


def test_files_take_their_permissions_from_the_umask(tmp_path):
    code = (
        "import os, sys, kvar; from pathlib import Path; os.umask(int(sys.argv[2], 8));"
        "from kvar.utils.atomic_files import atomic_write; path = Path(sys.argv[1]);"
        "manager = atomic_write(path / 'file'); manager.__enter__(); manager.__exit__(None, None, None);"
        "kvar.TraceWriter(path / 'trace').write(1, {'prompt_id': [1], 'reward': [1.0]})"
    )
    for umask in ("077", "027", "022", "002"):
        place = tmp_path / umask
        place.mkdir()
        subprocess.run([sys.executable, "-c", code, str(place), umask], check=True)
        for file in (place / "file", place / "trace" / "step-000000001.parquet", place / "trace" / ".lock"):
            assert file.stat().st_mode & 0o777 == 0o666 & ~int(umask, 8), file
