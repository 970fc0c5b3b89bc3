"""The command `ksdk-rerank`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ksdk_rerank import __version__
from ksdk_rerank.cli import main


def test_the_demo_prints_both_orders_and_exits_with_0() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KNOWLEDGE")}
    command = [sys.executable, "-W", "error", "-m", "ksdk_rerank", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("First stage: the stand-in server over the sample knowledge base, 20 candidates in ")
    assert lines[2].startswith("Reranker: lexical, ")
    assert lines[4].split() == ["new", "old", "score", "first", "stage", "title"]
    assert [line.split()[0] for line in lines[6:]] == ["1", "2", "3", "4", "5"]
    assert "Restore an earlier version of a dashboard" in lines[6]


def test_the_demo_searches_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tea.md").write_text("# Tea\n\nSteep green tea for two minutes.\n")
    (tmp_path / "coffee.md").write_text("# Coffee\n\nGrind coffee for tea lovers.\n")
    arguments = ["--question", "How long to steep tea?", "--limit", "5", "--top-n", "1", "--reranker", "input-order"]
    assert main(["demo", "--docs", str(tmp_path), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"First stage: the stand-in server over {tmp_path}, 2 candidates in ")
    assert lines[6:] == [lines[6]]
    assert lines[6].split()[:3] == ["1", "1", "-"]  # input order has no scores


def test_the_demo_says_so_when_nothing_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tea.md").write_text("# Tea\n\nSteep it.\n")
    assert main(["demo", "--docs", str(tmp_path), "--question", "zzz"]) == 0
    assert "found nothing for: zzz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--docs", "no-such-folder", "--question", "x"], "no-such-folder"),
        (["demo", "--docs", "."], "pass --question with --docs and --live"),
        (["demo", "--live", "--question", "x"], "set KNOWLEDGESDK_API_KEY"),
        (["demo", "--reranker", "nope"], "no reranker is called 'nope'"),
        (["demo", "--top-n", "0"], "top_n must be at least 1"),
        (["demo", "--limit", "0"], "limit must be an integer of at least 1"),
    ],
)
def test_a_failure_is_explained_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("ksdk-rerank: ")
    assert message in error
    assert error.count("\n") == 1


def test_live_asks_the_address_of_the_environment(
    knowledgesdk_stand_in, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    stand_in = knowledgesdk_stand_in("examples/knowledge_base")
    monkeypatch.setenv("KNOWLEDGESDK_API_KEY", stand_in.api_key)
    monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", stand_in.base_url)
    assert main(["demo", "--live", "--question", "How do I rotate an API key?"]) == 0
    assert f"KnowledgeSDK ({stand_in.base_url}/v1/search), 20 candidates" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"ksdk-rerank {__version__}\n"


def test_no_command_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
