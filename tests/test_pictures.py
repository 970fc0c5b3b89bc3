"""The pictures in the documentation show the latest results."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_pictures_show_the_latest_results() -> None:
    drawn = runpy.run_path(str(ROOT / "benchmarks" / "pictures.py"))["drawn"]()
    stale = [path.name for path, contents in drawn.items() if path.read_text(encoding="utf-8") != contents]
    assert stale == [], "run `python benchmarks/pictures.py`"


def test_every_picture_is_on_the_page_of_pictures() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    unused = [path.name for path in (ROOT / "docs" / "pictures").iterdir() if f"](pictures/{path.name})" not in page]
    assert unused == []
