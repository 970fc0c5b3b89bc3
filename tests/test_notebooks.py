"""The notebooks in `examples` run where nbclient is installed, and are kept without outputs."""

from __future__ import annotations

import ast
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples").glob("*.ipynb"))
PACKAGES = ("ksdk_rerank", "langchain_ksdk_rerank", "llamaindex_ksdk_rerank")
PUBLIC = {*PACKAGES, "ksdk_rerank.errors", "ksdk_rerank.evaluation", "ksdk_rerank.testing"}

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def code_cells(path: Path) -> list[Any]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    kept = [cell["id"] for cell in code_cells(path) if cell["outputs"] or cell["execution_count"]]
    assert kept == [], f"run `jupyter nbconvert --clear-output --inplace {path}`"


def test_a_notebook_uses_only_public_names(path: Path) -> None:
    used = 0
    for cell in code_cells(path):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGES):
                assert node.module in PUBLIC
                assert {name.name for name in node.names} <= set(import_module(node.module).__all__)
                used += 1
            elif isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_")
    assert used


def test_a_notebook_runs_from_top_to_bottom_without_a_network(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    notebook = nbformat.read(path, as_version=4)
    nbclient.execute(notebook, cwd=path.parent, timeout=60)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr" and "Warning" in output.text] == []
