"""The tutorial runs as it stands, from the first cell to the last, and is stored without what it printed."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "retrain.ipynb"
COLORS = re.compile(r"\x1b\[[0-9;]*m")


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert [cell.id for cell in notebook.cells] == [f"cell-{i:02d}" for i in range(len(notebook.cells))]
    assert not any(output in str(notebook.metadata) for output in ("/home", "/root"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
def test_the_notebook_goes_from_an_archive_to_a_promoted_package(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = "\n".join(_texts(notebook))
    assert "18 pairs" in shown  # sixteen patients, of whom two have two CTs
    assert "the names are swapped" in shown
    assert "2 of 18 cases built anew" in shown
    assert "Not inferior in any of 4 structures." in shown
    assert "in use now: 0.2.0" in shown
    assert "in use again: 0.1.0" in shown
    pictures = [out for cell in notebook.cells for out in cell.get("outputs", ()) if "image/png" in out.get("data", {})]
    assert len(pictures) == 2
    work = tmp_path / "retrain-tutorial"
    for file in ("audit/report.html", "split.yaml", "run-2/last.ckpt", "candidate/tutorial_ct/CARD.md"):
        assert (work / file).stat().st_size > 0, file


def _texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Everything that was printed, without colours."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    texts = (str(out.get("text", "") or out.get("data", {}).get("text/plain", "")) for out in outputs)
    return [COLORS.sub("", text) for text in texts]
