"""The documentation site: ``make docs``; ``-D run_lessons=0`` takes the lessons as an earlier build left them."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

import kvar  # noqa: E402
from kvar.baselines import baseline_class  # noqa: E402
from kvar.replaying import batches  # noqa: E402
from notebooks.execute import write_all  # noqa: E402

project = "kvar"
author = project_copyright = "The kvar authors"
release = kvar.__version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"kvar {release}"

myst_enable_extensions = ["amsmath", "dollarmath"]
# The lessons come executed.
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False


_METHODS = """# Map of methods

A baseline maps the prompts and rewards of a step to one value a rollout; the advantage is the reward less the value.
They differ in what they look at. `kvar.make_baseline(name, **parameters)` makes any of them; the parameters are the
fields of the class.

"""


def _methods() -> str:
    """A row a baseline: its class, whether the own reward enters, and what the first line of its docstring says."""
    trace = kvar.read_trace(ROOT / "kvar" / "data" / "demo.parquet")
    _, batch = next(batches(trace, list(trace.extras)))
    lines = ["| name | class | own reward in it | what it is |", "|---|---|---|---|"]
    for name in kvar.baseline_names():
        cls = baseline_class(name)
        own = "yes" if cls().own_weight(batch).any() else "no"
        said = cls.__doc__.partition("\n")[0]
        lines.append(f"| `{name}` | {{py:class}}`~{cls.__module__}.{cls.__name__}` | {own} | {said} |")
    classes = "\n   ".join(f"{(c := baseline_class(name)).__module__}.{c.__name__}" for name in kvar.baseline_names())
    listed = f"```{{eval-rst}}\n.. autosummary::\n   :toctree: api\n\n   {classes}\n```"
    return _METHODS + "\n".join(lines) + f"\n\n{listed}\n"


def _write(app, config) -> None:
    (HERE / "methods.md").write_text(_methods())
    if config.run_lessons:
        write_all(HERE / "lessons")


def setup(app) -> None:
    """Write what is generated before anything is read."""
    app.add_config_value("run_lessons", True, "env", bool)
    app.connect("config-inited", _write)
