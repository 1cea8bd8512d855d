"""The notebook runs from top to bottom."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("docs/**/*.ipynb")), ids=lambda path: str(path.relative_to(ROOT))
)
# The kernel's own libraries warn of what they will change.
@pytest.mark.filterwarnings("default")
def test_notebook_runs(path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "results are made, not stored"
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3").execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "lighthouse" in printed
    assert "cycles," in printed
