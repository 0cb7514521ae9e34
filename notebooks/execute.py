"""Runs a lesson from top to bottom: ``python notebooks/execute.py FOLDER`` writes all of them, executed, as .ipynb."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).parent
LESSONS = sorted(HERE.glob("[0-9]*.py"))


def executed(lesson: Path):
    """Execute a lesson in its own folder.

    Parameters
    ----------
    lesson : Path
        A py:percent file.

    Returns
    -------
    nbformat.NotebookNode
        With its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    notebook = jupytext.read(lesson, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    # The kernel finds the packages of this checkout even where they are not installed.
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(HERE)}})
    return client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})


def write_all(folder: Path) -> None:
    """Execute all lessons and write them.

    Parameters
    ----------
    folder : Path
        Where.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for lesson in LESSONS:
        jupytext.write(executed(lesson), folder / f"{lesson.stem}.ipynb")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
