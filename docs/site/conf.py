"""The documentation site: ``make docs``."""

import dataclasses
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

import mathjax  # noqa: E402  (a copy of MathJax, so that formulas need no network)

import kvar  # noqa: E402
from kvar.baselines import baseline_class  # noqa: E402
from kvar.replaying import batches  # noqa: E402
from kvar.utils.markdown import markdown_table  # noqa: E402
from llm_train.tasks.run_arguments import RunArguments  # noqa: E402
from simulations.studies import STUDIES  # noqa: E402

project = "kvar"
author = project_copyright = "The kvar authors"
release = kvar.__version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"kvar {release}"
html_static_path = ["site.css", str(Path(mathjax.__file__).parent / "static" / "mathjax" / "es5" / "tex-svg.js")]
html_css_files = ["site.css"]
mathjax_path = "tex-svg.js"

myst_enable_extensions = ["amsmath", "dollarmath"]
# For links to sections.
myst_heading_anchors = 3
# The notebooks carry their outputs; a test executes them.
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False


_METHODS = """# Map of methods

A baseline maps the prompts and rewards of a step to one value a rollout. The advantage is the reward less the value.
`kvar.make_baseline(name, **parameters)` makes any of them; the parameters are the fields of the class.

"""


def _methods() -> str:
    """A row a baseline: its class, whether the own reward enters, and what the first line of its docstring says."""
    trace = kvar.read_trace(ROOT / "kvar" / "data" / "demo.parquet")
    _, batch = next(batches(trace, list(trace.extras)))
    rows = []
    for name in kvar.baseline_names():
        cls = baseline_class(name)
        own = "yes" if cls().own_weight(batch).any() else "no"
        linked = f"{{py:class}}`~{cls.__module__}.{cls.__name__}`"
        rows.append((f"`{name}`", linked, own, cls.__doc__.partition("\n")[0]))
    classes = "\n   ".join(f"{(c := baseline_class(name)).__module__}.{c.__name__}" for name in kvar.baseline_names())
    listed = f"```{{eval-rst}}\n.. autosummary::\n   :toctree: api\n\n   {classes}\n```"
    table = markdown_table(["name", "class", "own reward in it", "what it is"], rows)
    return _METHODS + table + f"\n\n{listed}\n"


def _flags() -> str:
    """A row a flag of the command line that is not of the trainer."""
    given = [
        (f"`--{f.name}`", "" if f.default is None else f"`{f.default}`", f.metadata["help"])
        for f in dataclasses.fields(RunArguments)
    ]
    return markdown_table(["flag", "default", "what it sets"], given)


def _studies() -> str:
    """A section a study: its question, its command and its docstring."""
    parts = []
    for name, cls in STUDIES.items():
        directive = f".. autoclass:: {cls.__module__}.{cls.__name__}()"
        parts.append(f"### {cls.title}\n\n`python -m simulations run {name}`\n\n```{{eval-rst}}\n{directive}\n```\n")
    return "\n".join(parts)


def _kept(page: str) -> str:
    """A page of results; the files that it links to are in the repository, not on the site, but for its pictures."""
    path = ROOT / page
    return re.sub(r"(?<!!)\[[^\]]*\]\(([^)]*)\)", rf"`{path.parent.relative_to(ROOT)}/\1`", path.read_text())


def _write(app, config) -> None:
    (HERE / "methods.md").write_text(_methods())
    (HERE / "flags.inc").write_text(_flags())
    (HERE / "studies.inc").write_text(_studies())
    (HERE / "results.md").write_text(_kept("docs/results.md"))
    for study in ("coverage", "coverage-doubtful", "audit-findings"):
        (HERE / f"{study}.md").write_text(_kept(f"docs/simulations/{study}.md"))
    shutil.copy(ROOT / "docs" / "simulations" / "coverage-cells.png", HERE)
    shutil.rmtree(HERE / "lessons", ignore_errors=True)
    (HERE / "lessons").mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, HERE / "lessons")


def setup(app) -> None:
    """Write what is generated before anything is read."""
    app.connect("config-inited", _write)
