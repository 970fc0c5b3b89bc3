"""The blocks of the documentation that pytest itself must collect, as in a project of a reader's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs" / "testing.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("about", ["def test_the_page_about_rotation_comes_first", "class TestShortestReranker"])
def test_a_test_of_the_testing_page_passes(about: str, tmp_path: Path) -> None:
    pytest.importorskip("langchain_core")
    [block] = [block for block in BLOCKS if about in block]
    (tmp_path / "test_example.py").write_text(block, encoding="utf-8")
    shutil.copytree(ROOT / "examples" / "knowledge_base", tmp_path / "examples" / "knowledge_base")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* passed", done.stdout)
