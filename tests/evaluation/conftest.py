"""Fixtures: a reranker with scripted scores, and a real headless Chromium.

The tests drive the browser with the DevTools protocol over two pipes: no driver, no port, no package.
https://chromedevtools.github.io/devtools-protocol/, read 2026-11-23.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import Reranker, ScoreKind, Scores, ScoringReranker

Answer = Callable[[str, Sequence[str]], Sequence[float]]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_PATIENCE = 60.0  # seconds that a command may take on a busy machine
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
)
_LAUNCH = """
import fcntl, os, sys
commands, replies = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(commands, 3)  # where Chromium reads commands, and
os.dup2(replies, 4)  # where it writes replies
os.execv(sys.argv[3], sys.argv[3:])
"""


class Scripted(ScoringReranker):
    """Scores as it is told, and counts how often it is asked."""

    score_kind = ScoreKind.LOGIT

    answer: Answer

    def __init__(self, label: str) -> None:
        self.label = label
        self.asked: list[str] = []

    @property
    def name(self) -> str:
        return self.label

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append(query)
        return Scores(self.answer(query, documents), usage={"total_tokens": 10.0})

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


@pytest.fixture
def scripted() -> Callable[[str, Answer], Reranker]:
    """Make a reranker from a name and a function of query and documents."""

    def make(label: str, answer: Answer) -> Scripted:
        reranker = Scripted(label)
        reranker.answer = answer  # not an argument: functions have no written form, which a cache needs
        return reranker

    return make


class Page:
    """One tab. `problems` holds what the console and the security policy complained about, `requests` all URLs."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, file: Path, *, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        """Show `file` in a window of this size, and wait until its script has run."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.problems.clear()
        self.requests.clear()
        self.send("Page.navigate", url=file.absolute().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        reply = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def wait_for(self, condition: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.run(condition):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press and release a key, as a user of the keyboard does."""
        text = {"Enter": "\r", " ": " "}.get(key)
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}[key]
        fields = {"key": key, "code": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        self.send("Input.dispatchKeyEvent", type="keyDown", **fields)
        self.send("Input.dispatchKeyEvent", type="keyUp", **fields)

    def screenshot(self, file: Path) -> None:
        """The whole page as a PNG."""
        taken = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def pdf(self, file: Path) -> None:
        """The page as it prints."""
        file.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=False)["data"]))

    def send(self, method: str, **parameters: object) -> Any:
        """Send one command and return its result; events that come before are kept."""
        self._last += 1
        command: dict[str, object] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._last:
                assert "error" not in message, message["error"]
                return message["result"]
            self._heard(message)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], _PATIENCE)[0], "Chromium is silent"
            read = os.read(self._from, 1 << 20)
            assert read, "Chromium has gone"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _heard(self, message: dict[str, Any]) -> None:
        method, about = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(json.dumps(about["args"]))
        elif method == "Log.entryAdded":
            self.problems.append(json.dumps(about["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A tab of a real browser; the test is skipped where there is none."""
    if CHROMIUM is None or sys.platform == "win32":
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    with _chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder that KSDK_SCREENSHOTS names, to be kept, or a temporary one."""
    folder = Path(os.environ.get("KSDK_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _chromium(profile: Path) -> Iterator[Page]:
    """A running Chromium with one tab; its profile is in a folder of the test."""
    assert CHROMIUM is not None
    commands, to_browser = os.pipe()
    from_browser, replies = os.pipe()
    start = [
        sys.executable,
        "-c",
        _LAUNCH,
        str(commands),
        str(replies),
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={profile}",
    ]
    with (profile / "chromium.log").open("wb") as log:
        process = subprocess.Popen(start, pass_fds=(commands, replies), stdout=log, stderr=log)
    os.close(commands)
    os.close(replies)
    try:
        yield Page(to_browser, from_browser)
    finally:
        os.close(to_browser)  # it ends when nobody commands it any more
        os.close(from_browser)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
