"""Every example runs as it stands and prints what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRINTS = {
    "rank_strings.py": "To rotate an API key",
    "langchain_knowledgesdk.py": "Rotate an API key\n",
    "langchain_any_retriever.py": "Invoices are sent on the first day of each month.\n",
    "langchain_chain.py": "Run `lf keys rotate`",
    "llamaindex_query_engine.py": "Rotate an API key\n",
    "async_service.py": "40 questions, ",
}
NEEDS = {"langchain": "langchain_core", "llamaindex": "llama_index.core"}


def test_every_example_is_tested() -> None:
    assert sorted(path.name for path in (ROOT / "examples").glob("*.py")) == sorted(PRINTS)


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_the_example_runs(name: str) -> None:
    if needed := NEEDS.get(name.partition("_")[0]):
        pytest.importorskip(needed)
    pytest.importorskip("onnxruntime")  # what runs the embedded model
    path = ROOT / "examples" / name
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert PRINTS[name] in done.stdout
