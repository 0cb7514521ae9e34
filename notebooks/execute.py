"""Executes the lessons: ``python -m notebooks.execute`` writes each percent file, with its outputs, as an .ipynb."""

from __future__ import annotations

import os
from pathlib import Path

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).parent
LESSONS = sorted(HERE.glob("[0-9]*.py"))


def executed(lesson: Path):
    """Execute a lesson in its own folder; everything but the outputs is the same on every machine."""
    notebook = jupytext.read(lesson, fmt="py:percent")
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
    # The kernel finds the packages of this checkout even where they are not installed.
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(HERE)}},
    )
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    del notebook.metadata["language_info"]
    return notebook


if __name__ == "__main__":
    for path in LESSONS:
        jupytext.write(executed(path), path.with_suffix(".ipynb"))
