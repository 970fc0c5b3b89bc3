"""Standard streams that cannot carry a text, are full, closed or left: every command ends in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such shell")

TITLES = ("密钥轮换", "Grüße aus Köln", "Ключ", "emoji 🔑 key")


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
ALL = (*COMMANDS, "failing", "wrong usage", "export")


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


def run(arguments: list[str], shell: str = '"$@"', **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as `shell` does, with its streams as that says."""
    command = ["bash", "-c", shell, "-", sys.executable, "-W", "error", "-m", "ksdk_rerank", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LC_"))}
    return subprocess.run(command, capture_output=True, env={**kept, **environment}, timeout=120)


def in_order(done: subprocess.CompletedProcess[bytes], *, lines: int) -> None:
    """No traceback, no complaint of the interpreter's end, and so many lines of our own."""
    said = done.stderr.decode(errors="replace")
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert said.count("\n") == lines, said


@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252", "gbk", "utf-8", "latin-1:strict", "utf-16-le"])
@pytest.mark.parametrize("command", ["search", "rank", "compare"])
def test_what_a_stream_cannot_carry_is_replaced(command: str, encoding: str, material: Material) -> None:
    done = run(material.arguments(command), PYTHONIOENCODING=encoding)
    in_order(done, lines=0)
    assert done.returncode == 0
    shown = done.stdout.decode(encoding.split(":")[0])  # all of it is in this encoding
    if command == "compare":
        assert shown.endswith(f"Report: {material.report}\n")
        assert material.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    else:
        assert shown.count("\n") == 2 + len(TITLES)
        assert ("密钥轮换" in shown) is (encoding in ("gbk", "utf-8", "utf-16-le"))
        assert ("Grüße" in shown) is (encoding not in ("ascii:strict", "gbk"))


@pytest.mark.parametrize("command", ALL)
def test_every_command_does_with_ascii_alone(command: str, material: Material) -> None:
    done = run(material.arguments(command), PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == {"failing": 1, "export": 1, "wrong usage": 2}.get(command, 0)
    assert b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode("ascii")
    if command.endswith("--json"):
        json.loads(done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_a_failure_in_one_line_and_the_report_is_written(
    command: str, unbuffered: str, material: Material
) -> None:
    done = run(material.arguments(command), '"$@" >/dev/full', PYTHONUNBUFFERED=unbuffered)
    in_order(done, lines=1)
    assert done.returncode == 1
    assert done.stderr == b"ksdk-rerank: standard output cannot be written: No space left on device\n"
    assert material.report.exists() is command.startswith("compare")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_left_is_a_failure_without_a_word_and_the_report_is_written(
    command: str, material: Material
) -> None:
    done = run(material.arguments(command), '"$@" | true; exit ${PIPESTATUS[0]}')
    in_order(done, lines=0)
    assert done.returncode in (0, 1)  # 0 if it had written all before the reader left
    assert material.report.exists() is command.startswith("compare")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["search", "rank", "compare", "failing", "wrong usage", "--help"])
def test_closed_streams_cause_no_traceback(command: str, closed: str, material: Material) -> None:
    done = run(material.arguments(command), f'"$@" {closed}')
    assert done.returncode == {"failing": 1, "wrong usage": 2}.get(command, 0)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if command == "compare":
        assert material.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    if ">&-" not in closed.split():
        assert bool(done.stdout) is (command not in ("failing", "wrong usage"))


@pytest.mark.parametrize("lost", ["2>/dev/full", "2> >(true)", "2>&-"])
def test_an_error_that_cannot_be_told_keeps_its_status(lost: str, material: Material) -> None:
    assert run(material.arguments("failing"), f'"$@" {lost}').returncode == 1


def test_standard_input_that_is_closed_holds_no_documents(material: Material) -> None:
    done = run(["rank", "key", "-", "--reranker", "lexical", "--json"], '"$@" <&-')
    in_order(done, lines=0)
    assert json.loads(done.stdout)["results"] == []


def test_a_report_that_cannot_be_written_costs_no_table(material: Material) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    material.report.symlink_to("/dev/full")
    done = run(material.arguments("compare"))
    in_order(done, lines=1)
    assert done.returncode == 1
    assert b"first stage" in done.stdout
    assert done.stderr.decode().startswith(f"ksdk-rerank: --report {material.report} cannot be written: No space")


def test_bytes_of_a_question_that_are_no_text_are_replaced(material: Material) -> None:
    done = run(["search", "caf\udce9 key", *material.arguments("search")[2:], "--json"], LC_ALL="C.UTF-8")
    in_order(done, lines=0)
    assert json.loads(done.stdout)["query"] == "caf\ufffd key"


@pytest.mark.parametrize(
    "missing", ["sys.stdout = None", "sys.stdout.close()", "sys.stdin = sys.stdout = sys.stderr = None"]
)
@pytest.mark.parametrize("command", ["search", "compare", "failing"])
def test_a_process_that_has_no_streams_runs_commands(command: str, missing: str, material: Material) -> None:
    code = f"import sys; {missing}; from ksdk_rerank.commands.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *material.arguments(command)], capture_output=True, timeout=120)
    assert done.returncode == (1 if command == "failing" else 0)
    assert done.stdout == b""
    in_order(done, lines=1 if command == "failing" and "stderr" not in missing else 0)
    assert material.report.exists() is (command == "compare")


def test_a_terminal_of_another_encoding_gets_its_table(material: Material) -> None:
    pytest.importorskip("rich")
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
