"""Every lesson runs from top to bottom without an error or a warning, shows a picture, and reads as a lesson."""

import pytest

from notebooks.execute import LESSONS, executed


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_a_lesson_runs(lesson):
    notebook = executed(lesson)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not said
    assert any("image/png" in output.get("data", {}) for output in outputs)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.startswith("# ")
    assert all(part in text for part in ("?", "**The answer.**", "**Try next:**"))
