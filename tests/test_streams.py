"""Standard streams that are full, closed, missing, abandoned or cannot encode a text: every command ends cleanly.

Most tests run the command in this process, on streams of their own. Those about the interpreter's start and end run it
in a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from ksdk_rerank.commands.main import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such shell")

TITLES = ("密钥轮换", "Grüße aus Köln", "Ключ", "emoji 🔑 key")
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@dataclass(frozen=True)
class Material:
    """A folder of documents, questions about them, and where a report goes."""

    docs: Path
    questions: Path
    report: Path
    cache: Path

    def arguments(self, command: str) -> list[str]:
        docs, lexical = ["--docs", str(self.docs)], ["--reranker", "lexical"]
        asked = ["compare", "--questions", str(self.questions), "--cache", str(self.cache)]
        return {
            "search": ["search", "key 密钥", *docs, *lexical],
            "search --json": ["search", "key 密钥", *docs, *lexical, "--json"],
            "demo": ["demo", "--question", "key 密钥", *docs, *lexical],
            "rank": ["rank", "key", *map(str, sorted(self.docs.iterdir())), *lexical],
            "compare": [*asked, *docs, *lexical, "--report", str(self.report)],
            "compare --json": [*asked, *docs, *lexical, "--report", str(self.report), "--json"],
            "failing": ["search", "key", "--docs", str(self.docs / "nö 密钥")],
            "wrong usage": ["search"],
            "--help": ["--help"],
            "--version": ["--version"],
            "export": ["export", str(self.docs / "no model"), str(self.docs)],
        }[command]


COMMANDS = ("search", "search --json", "demo", "rank", "compare", "compare --json", "--help", "--version")
STATUS = {"failing": 1, "export": 1, "wrong usage": 2}


@pytest.fixture
def material(tmp_path: Path) -> Material:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number, title in enumerate(TITLES):
        (docs / f"{title} {number}.md").write_text(f"# {title}\n\nA key number {number}: 密钥.\n", encoding="utf-8")
    (tmp_path / "questions.jsonl").write_text(
        json.dumps({"question": "key", "answers": [f"{TITLES[0]} 0"]}), encoding="utf-8"
    )
    return Material(docs, tmp_path / "questions.jsonl", tmp_path / "report.html", tmp_path / "cache")


@pytest.fixture(autouse=True)
def own_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test puts into their place, pytest gets its own back."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))


def stream(encoding: str = "utf-8") -> io.TextIOWrapper:
    name, _, errors = encoding.partition(":")
    return io.TextIOWrapper(io.BytesIO(), encoding=name, errors=errors or "strict")


def written(to: Any) -> bytes:
    to.flush()
    return to.buffer.getvalue()  # type: ignore[no-any-return]


def status_of(arguments: list[str], *, out: IO[str] | None, err: IO[str] | None) -> int:
    """Run the command in this process on these streams."""
    sys.stdout, sys.stderr = out, err
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def run(arguments: list[str], shell: str = '"$@"', **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own, as `shell` does, with its streams as that says."""
    command = ["bash", "-c", shell, "-", sys.executable, "-W", "error", "-m", "ksdk_rerank", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LC_"))}
    return subprocess.run(command, capture_output=True, env={**kept, **environment}, timeout=120)


def in_order(said: bytes, *, lines: int) -> None:
    """No traceback, no complaint of the interpreter's end, and so many lines of our own."""
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said
    assert said.count(b"\n") == lines, said


@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252", "gbk", "utf-8", "latin-1:strict", "utf-16-le"])
@pytest.mark.parametrize("command", ["search", "rank", "compare"])
def test_what_a_stream_cannot_carry_is_replaced(command: str, encoding: str, material: Material) -> None:
    out, err = stream(encoding), stream(encoding)
    assert status_of(material.arguments(command), out=out, err=err) == 0
    assert written(err) == b""
    shown = written(out).decode(encoding.split(":")[0])  # all of it is in this encoding
    if command == "compare":
        assert shown.endswith(f"Report: {material.report}\n")
        assert material.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    else:
        assert shown.count("\n") == 2 + len(TITLES)
        assert ("密钥轮换" in shown) is (encoding in ("gbk", "utf-8", "utf-16-le"))
        assert ("Grüße" in shown) is (encoding not in ("ascii:strict", "gbk"))


@pytest.mark.parametrize("command", [*COMMANDS, *STATUS])
def test_every_command_does_with_ascii_alone(command: str, material: Material) -> None:
    out, err = stream("ascii"), stream("ascii")
    assert status_of(material.arguments(command), out=out, err=err) == STATUS.get(command, 0)
    assert b"Traceback" not in written(err)
    (written(out) + written(err)).decode("ascii")
    if command.endswith("--json"):
        json.loads(written(out))


def test_a_process_in_an_ascii_locale_replaces_what_it_cannot_show(material: Material) -> None:
    done = run(material.arguments("rank"), PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0", LC_ALL="C")
    in_order(done.stderr, lines=0)
    assert (done.returncode, done.stdout.decode("ascii").count("\n")) == (0, 2 + len(TITLES))


@FULL
@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_a_failure_in_one_line_and_the_report_is_written(
    command: str, buffering: int, material: Material
) -> None:
    err = stream()
    with Path("/dev/full").open("wb", buffering) as full, io.TextIOWrapper(full, write_through=not buffering) as out:
        assert status_of(material.arguments(command), out=out, err=err) == 1
    assert written(err) == b"ksdk-rerank: standard output cannot be written: No space left on device\n"
    assert material.report.exists() is command.startswith("compare")


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_process_on_a_full_disk_ends_with_one_line(unbuffered: str, material: Material) -> None:
    done = run(material.arguments("rank"), '"$@" >/dev/full', PYTHONUNBUFFERED=unbuffered)
    in_order(done.stderr, lines=1)
    assert done.returncode == 1


@pytest.fixture
def abandoned() -> Iterator[io.TextIOWrapper]:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        yield pipe


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_left_is_a_failure_without_a_word_and_the_report_is_written(
    command: str, material: Material, abandoned: io.TextIOWrapper
) -> None:
    err = stream()
    assert status_of(material.arguments(command), out=abandoned, err=err) == 1
    assert written(err) == b""
    assert material.report.exists() is command.startswith("compare")


@pytest.mark.parametrize(
    ("command", "closed"),
    [("rank", ">&-"), ("rank", "2>&-"), ("rank", "<&-"), ("rank", ">&- 2>&-"), ("compare", "<&- >&- 2>&-")],
)
def test_a_process_with_closed_streams_ends_without_a_traceback(command: str, closed: str, material: Material) -> None:
    """In a process of its own: the next file that it opens gets a closed stream's descriptor."""
    done = run(material.arguments(command), f'"$@" {closed}')
    in_order(done.stderr, lines=0)
    assert done.returncode == 0
    assert bool(done.stdout) is (">&-" not in closed.split())
    if command == "compare":
        assert material.report.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("missing", [("stdout",), ("stderr",), ("stdin",), ("stdin", "stdout", "stderr")])
@pytest.mark.parametrize("how", ["none", "closed"])
@pytest.mark.parametrize("command", ["search", "rank", "compare", "failing", "wrong usage", "--help"])
def test_closed_and_missing_streams_cause_no_traceback(
    command: str, how: str, missing: tuple[str, ...], material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {name: None if how == "none" else stream() for name in missing}
    for each in filter(None, gone.values()):
        each.close()
    if "stdin" in gone:
        monkeypatch.setattr(sys, "stdin", gone["stdin"])
    out, err = gone.get("stdout", stream()), gone.get("stderr", stream())
    assert status_of(material.arguments(command), out=out, err=err) == STATUS.get(command, 0)
    if "stdout" not in gone:
        assert bool(written(out)) is (command not in STATUS)
    if "stderr" not in gone:
        assert bool(written(err)) is (command in STATUS)
        assert b"Traceback" not in written(err)
    assert material.report.exists() is (command == "compare")


@pytest.mark.parametrize("lost", ["2>/dev/full", "2> >(true)", "2>&-"])
def test_an_error_that_cannot_be_told_keeps_its_status(lost: str, material: Material) -> None:
    assert run(["rank", "key", "no such file"], f'"$@" {lost}').returncode == 1


def test_standard_input_that_is_closed_holds_no_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    out = stream()
    assert status_of(["rank", "key", "-", "--reranker", "lexical", "--json"], out=out, err=stream()) == 0
    assert json.loads(written(out))["results"] == []


@FULL
def test_a_report_that_cannot_be_written_costs_no_table(material: Material) -> None:
    material.report.symlink_to("/dev/full")
    out, err = stream(), stream()
    assert status_of(material.arguments("compare"), out=out, err=err) == 1
    in_order(written(err), lines=1)
    assert b"first stage" in written(out)
    assert written(err).decode().startswith(f"ksdk-rerank: --report {material.report} cannot be written: No space")


def test_bytes_of_a_question_that_are_no_text_are_replaced(material: Material) -> None:
    out = stream()
    assert status_of(["search", "caf\udce9 key", *material.arguments("search --json")[2:]], out=out, err=stream()) == 0
    assert json.loads(written(out))["query"] == "caf\ufffd key"


def test_a_terminal_of_another_encoding_gets_its_table(material: Material) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ksdk_rerank", *material.arguments("compare")]
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "ascii:strict", "COLUMNS": "200"}
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=120, env=environment)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "first stage" in shown.decode("ascii")
    assert "Report: " in shown.decode("ascii")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other end is closed
        return b""
