"""What a page looks like in a real browser: Playwright drives the Chromium that KSDK_TEST_CHROMIUM names.

`nox -s browser` installs Playwright and axe-core, and runs the tests that use this. KSDK_SCREENSHOTS names the folder
for their screenshots.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("KSDK_TEST_CHROMIUM", "")
THIS_MACHINE = ("file:", "data:", "blob:", "http://127.0.0.1:")
WINDOWS = {"light": (1280, False), "dark": (1280, True), "phone": (390, False), "phone-dark": (390, True)}

Show = Callable[..., Any]


def skip_without_chromium() -> None:
    """Skip the module that calls this unless there is a browser."""
    if not CHROMIUM:
        pytest.skip("KSDK_TEST_CHROMIUM is not set", allow_module_level=True)


@pytest.fixture(scope="module")  # Playwright's event loop would be in the way of other modules' asynchronous tests
def chromium() -> Iterator[Any]:
    """The running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def show(chromium: Any) -> Iterator[Show]:
    """Open a URL in a window of its own, such as `page = show(url, "phone")`.

    At the end of the test, no page may have complained in its console, or asked another machine for anything.
    """
    complaints: list[str] = []
    requests: list[str] = []
    windows = []

    def open_window(url: str, window: str = "light") -> Any:
        width, dark = WINDOWS[window]
        context = chromium.new_context(
            viewport={"width": width, "height": 1000},
            is_mobile=width < 600,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        context.on("console", lambda message: complaints.append(message.text))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("request", lambda request: requests.append(request.url))
        windows.append(context)
        context.set_default_timeout(120_000)  # milliseconds; a busy machine is slow
        page = context.new_page()
        page.goto(url)
        return page

    yield open_window
    for context in windows:
        context.close()
    assert [url for url in requests if not url.startswith(THIS_MACHINE)] == []
    assert complaints == []


def check_layout(page: Any) -> None:
    """Check that a page breaks none of axe-core's rules of accessibility, and is no wider than its window."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder that KSDK_SCREENSHOTS names, to be kept, or a temporary one."""
    folder = Path(os.environ.get("KSDK_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
