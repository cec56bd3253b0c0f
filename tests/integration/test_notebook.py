"""The notebook runs from top to bottom, from a clean clone and offline."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT = 60  # seconds


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_kept(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_the_quickstart_runs_and_shows_what_it_says(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, startup_timeout=CELL_TIMEOUT, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises with the cell and its traceback
    printed = "".join(text(output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    for words in (
        "All about tea | True",
        "'steps': 10",
        "planner {'please': 'shorter'}",
        "Tea, shorter",
        "3 articles about tea",
        "All about tea, briefly",
    ):
        assert words in printed, printed
    assert "'published': True" in printed
    pictures = [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    assert any("<td>newsroom</td>" in picture for picture in pictures)


def text(output: nbformat.NotebookNode) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.get("data", {}).get("text/plain", ""))
