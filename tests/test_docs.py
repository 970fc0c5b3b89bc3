"""Every Python block of the documentation runs, and prints what stands below it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^ *```python\n(?P<code>.*?)^ *```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+?) -->\s*$")
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)[^)]*\)")


def blocks() -> list[object]:
    """Each block as a test, named after its page and line."""
    found: list[object] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            name = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, block.start()) + 1}"
            excused = NOT_RUN.search(text[: block.start()])
            marks = [pytest.mark.skip(reason=excused["reason"])] if excused else []
            found.append(pytest.param(textwrap.dedent(block["code"]), block["output"], id=name, marks=marks))
    return found


@pytest.mark.parametrize(("code", "output"), blocks())
def test_the_block_runs_and_prints_what_stands_below_it(code: str, output: str | None) -> None:
    for needed in ("langchain_classic", "langchain_core", "llama_index.core", "cohere", "opentelemetry.sdk"):
        if needed in code or (needed == "langchain_core" and "langchain_ksdk" in code):
            pytest.importorskip(needed)
    if '"embedded"' in code:
        pytest.importorskip("onnxruntime")
    keys = {"CO_API_KEY": "no-real-key", "JINA_API_KEY": "no-real-key"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **keys})
    assert (done.returncode, done.stderr) == (0, "")
    if output is not None:
        assert done.stdout == output


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        target = link["target"]
        assert target.startswith("http") or (page.parent / target).exists(), target
