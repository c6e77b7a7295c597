"""The notebooks run from beginning to end in a kernel of their own, and are stored without outputs."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import latentune

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "demos" / "notebooks").glob("*.ipynb"))
MAX_BYTES = 8_000  # of one: text and code, no audio and no pictures


def code_cells(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["1_tokenize", "2_train_and_sample", "3_edit_and_stream"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    assert path.stat().st_size < MAX_BYTES
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_names_in_a_notebook_exist(path: Path) -> None:
    names = [
        node.attr
        for cell in code_cells(path)
        for node in ast.walk(ast.parse("".join(cell["source"])))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "latentune"
    ]
    assert names
    assert set(names) <= set(latentune.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("audio" in str(output.get("data", {}).get("text/html", "")) for output in outputs), "there is sound"
    assert not any(output.output_type == "error" for output in outputs)
