"""What the README shows works: its code runs, its links and commands exist, and it stays short."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import llm_train

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = [
    pytest.param(code, id=f"{page.stem}-{place}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs" / "site").glob("*.md"))]
    for place, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
]
LONGEST = 1200


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(code):
    compiled = compile(code, "snippet", "exec")
    if imported := re.findall(r"^from llm_train import ([\w, ]+\w)", code, flags=re.MULTILINE):
        # These need TRL and a model.
        assert set(", ".join(imported).split(", ")) <= set(llm_train.__all__)
    elif plugins := re.findall(r"^from (llm_train\.plugins\.\w+) import (.*)$", code, flags=re.MULTILINE):
        # These need the trainer that they belong to: see `make plugins`.
        pytest.importorskip("trl")
        for module, names in plugins:
            assert set(names.split(", ")) <= set(import_module(module).__all__)
    else:
        exec(compiled, {})


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_a_link_leads_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("folder", re.findall(r"^([a-z_]+/) {2}", README, flags=re.MULTILINE))
def test_a_named_folder_is_there(folder):
    assert (ROOT / folder).is_dir()


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
    for module in re.findall(r"python -m ([a-z_.]+)", README):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    for command in re.findall(r"(?:^|`)kvar ([a-z]+)", README, flags=re.MULTILINE):
        assert (ROOT / "kvar" / "commands" / f"{command}.py").exists()


def test_it_is_short():
    assert len(README.split()) <= LONGEST
