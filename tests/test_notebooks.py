"""The notebooks are those of their percent files: the same cells, and what these print today."""

import jupytext
import pytest

from notebooks.execute import LESSONS, executed

LARGEST = 400_000


def kept(lesson):
    return jupytext.read(lesson.with_suffix(".ipynb"))


def printed(notebook):
    """Text of every cell; pictures are left to the eye."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["text"] if "text" in output else output["data"].get("text/plain") for output in outputs]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_notebook_has_the_cells_of_its_percent_file(lesson):
    notebook, source = kept(lesson), jupytext.read(lesson)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ], "run python -m notebooks.execute"
    assert notebook.metadata["jupytext"]["formats"] == source.metadata["jupytext"]["formats"] == "ipynb,py:percent"
    assert "## What you will be able to do\n" in notebook.cells[0].source
    assert lesson.with_suffix(".ipynb").stat().st_size < LARGEST


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_a_notebook_shows_what_its_code_does_today(lesson):
    fresh = executed(lesson)
    outputs = [output for cell in fresh.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert printed(fresh) == printed(kept(lesson)), "run python -m notebooks.execute"
