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


def block_of(page: str, about: str) -> str:
    """The one Python block of `page` that contains `about`."""
    found = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    [block] = [block for block in found if about in block]
    return str(block)


def check_that_tests_pass(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* passed", done.stdout)


@pytest.mark.parametrize("about", ["def test_the_page_about_rotation_comes_first", "class TestShortestReranker"])
def test_a_test_of_the_testing_page_passes(about: str, tmp_path: Path) -> None:
    pytest.importorskip("langchain_core")
    (tmp_path / "test_example.py").write_text(block_of("docs/testing.md", about), encoding="utf-8")
    shutil.copytree(ROOT / "examples" / "knowledge_base", tmp_path / "examples" / "knowledge_base")
    check_that_tests_pass(tmp_path)


def test_the_recipe_for_a_hosted_service_is_one_short_file_that_passes_its_test(tmp_path: Path) -> None:
    leaf = block_of("CONTRIBUTING.md", "class AcmeReranker")
    assert len(leaf.splitlines()) <= 35
    (tmp_path / "acme.py").write_text(leaf, encoding="utf-8")
    (tmp_path / "test_acme.py").write_text(block_of("CONTRIBUTING.md", "class TestAcmeReranker"), encoding="utf-8")
    beside_the_others = f"import ksdk_rerank.rerankers\n\nksdk_rerank.rerankers.__path__.append({str(tmp_path)!r})\n"
    (tmp_path / "conftest.py").write_text(beside_the_others, encoding="utf-8")
    check_that_tests_pass(tmp_path)
