"""Without the extras every missing package is named with what brings it, and all else works."""

import json
import subprocess
import sys

import pytest

ABSENT = [
    *("accelerate", "datasets", "peft", "safetensors", "torch", "transformers", "trl", "matplotlib", "fsspec"),
    *("numba", "dask", "ray"),
]
# What is tried, and what the error names; None where nothing of it is needed.
TRIED = {
    "from llm_train import KAETrainer": "kvar[llm]",
    "from llm_train import attach": "kvar[llm]",
    "import llm_train.plugins.verl": "kvar[llm]",
    "kvar.read_trace('s3://bucket/run')": "kvar[remote]",
    "chosen.plot()": "pip install matplotlib",
    "model.plot()": "pip install matplotlib",
    "kvar.prompt_values(trace).plot('a')": "pip install matplotlib",
    "import llm_train, simulations, paper_figures": None,
    "model.predict(x); model.confidence_band(x)": None,
    "kvar.prompt_values(trace); kvar.replay(trace, 'adaptive')": None,
}
# As if they were not installed.
HIDDEN = f"""
import sys
from importlib.machinery import PathFinder

class Finder:
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder()
"""
SCRIPT = f"""
{HIDDEN}
import json, numpy as np, kvar
x = np.linspace(0.0, 1.0, 50)
chosen = kvar.select_bandwidth(x, np.sin(6.0 * x) + 0.1 * np.cos(50.0 * x))
model = kvar.KernelRegressor(bandwidth=0.2).fit(x, np.sin(6.0 * x))
trace = kvar.Trace.from_columns({{"step": [0, 1], "prompt_id": ["a", "a"], "reward": [0.0, 1.0]}})
said = {{}}
for code in {list(TRIED)!r}:
    try:
        exec(code)
        said[code] = None
    except Exception as error:
        said[code] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("code", TRIED)
def test_a_missing_package_is_named_with_what_brings_it(said, code):
    if TRIED[code] is None:
        assert said[code] is None
    else:
        assert TRIED[code] in said[code]


def test_the_command_line_names_it_in_one_line():
    code = f"""
{HIDDEN}
import runpy
sys.argv = ["llm_train", "train", "--output_dir", "unused"]
runpy.run_module("llm_train", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "kvar[llm]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
