"""Every page of the documentation site in a real browser, as `mkdocs build` wrote it. `nox -s browser` runs these."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from browser import WINDOWS, Show, check_layout, skip_without_chromium

skip_without_chromium()

SITE = Path(__file__).parent.parent / "build" / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
assert PAGES, "run `mkdocs build` first"
PICTURED = [
    f"{folder}index.html" for folder in ("", "tutorial/", "how-to/fastapi/", "benchmarks/", "reference/langchain/")
]


def windows(file: str) -> list[str]:
    """All for the pages of which screenshots are kept; the narrow one, where a page breaks first, for the others."""
    return list(WINDOWS) if file in PICTURED else ["phone"]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("file", "window"), [(file, window) for file in PAGES for window in windows(file)])
def test_a_page_is_accessible_fits_its_window_and_loads_nothing_from_elsewhere(
    address: str, show: Show, pictures: Path, file: str, window: str
) -> None:
    page = show(address + file.removesuffix("index.html"), window)
    page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
    if file in PICTURED:
        page.screenshot(path=pictures / f"site-{Path(file).parent.name or 'home'}-{window}.png", full_page=True)
    check_layout(page)
