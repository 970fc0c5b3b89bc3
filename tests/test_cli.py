"""The command `ksdk-rerank`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import __version__
from ksdk_rerank.commands.main import main
from ksdk_rerank.engines.export import ExportReport
from ksdk_rerank.engines.quantize import Agreement
from ksdk_rerank.testing import Fault, KnowledgeSDKStandIn


def test_the_demo_prints_both_orders_and_exits_with_0() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KNOWLEDGE")}
    command = [sys.executable, "-W", "error", "-m", "ksdk_rerank", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("First stage: the stand-in server over the sample knowledge base, 20 candidates in ")
    assert lines[2].startswith("Reranker: passages(embedded), ")
    assert lines[4].split() == ["new", "old", "score", "first", "stage", "title"]
    assert [line.split()[0] for line in lines[6:11]] == ["1", "2", "3", "4", "5"]
    assert "Purge stored events" in lines[6]
    assert lines[12] == (
        "Best passage of number 2: Customers' details never leave it, and so they are not stored by mistake."
    )
    assert "preset: email" in done.stdout


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
        (["demo", "--docs", "."], "--docs and --live need a question of your own: pass --question"),
        (["demo", "--question", ""], "query must not be blank"),
        (["demo", "--live", "--question", "x"], "set KNOWLEDGESDK_API_KEY"),
        (["demo", "--reranker", "nope"], "no reranker is called 'nope'"),
        (["demo", "--top-n", "0"], "top_n must be at least 1"),
        (["demo", "--limit", "0"], "limit must be at least 1"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_configuration_is_read_in_the_encodings_of_json_and_windows(encoding: str, tmp_path: Path) -> None:
    config = tmp_path / "lexical.json"
    config.write_text('{"class": "LexicalReranker"}', encoding=encoding)
    assert main(["rank", "tea", "README.md", "--reranker", str(config)]) == 0


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('{"class": "LexicalReranker", "parameters": {"k2": 1}}', "unexpected keyword argument 'k2'"),
        ('{"class":' * 100_000, "cannot be read: "),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained_in_one_line(
    written: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "odd.json"
    config.write_text(written)
    assert main(["rank", "tea", "README.md", "--reranker", str(config)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_a_service_says_does_not_steer_the_terminal(
    live: KnowledgeSDKStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    with live.failing(Fault(status=400, body={"error": "no such \x1b[2J\nfilter"})):
        assert main(["search", "keys"]) == 1
    error = capsys.readouterr().err
    assert "no such [2J filter" in error
    assert error.count("\n") == 1


def test_live_asks_the_address_of_the_environment(
    live: KnowledgeSDKStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--live", "--question", "How do I rotate an API key?", "--reranker", "lexical"]) == 0
    assert f"KnowledgeSDK ({live.base_url}/v1/search), 20 candidates" in capsys.readouterr().out


def test_rank_puts_files_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"coffee.txt": "Grind coffee.", "tea.txt": "Steep green tea.", "water.txt": "Boil water for tea and more."}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in files]
    lexical = ["--reranker", "lexical"]
    assert main(["rank", "green tea", *paths, *lexical, "--top-n", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "score", "document"]
    assert [line.split()[2] for line in lines[2:]] == [paths[1], paths[2]]
    assert main(["rank", "green tea", *paths, *lexical, "--min-score", "0.01", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["query"], found["reranked_by"], found["truncated"]) == ("green tea", "lexical", 0)
    assert [(hit["rank"], hit["index"], hit["name"]) for hit in found["results"]] == [
        (1, 1, paths[1]),
        (2, 2, paths[2]),
    ]
    assert 0 < found["results"][1]["score"] < found["results"][0]["score"] <= 1


@pytest.mark.parametrize(("engine", "expected"), [(True, "embedded"), (False, "lexical")])
def test_a_command_takes_the_embedded_model_where_it_can_run(
    engine: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if engine:
        pytest.importorskip("onnxruntime")
    else:
        monkeypatch.setattr("ksdk_rerank.loading.names.find_spec", lambda name: None)
    (tmp_path / "tea.md").write_text("# Tea\n\nSteep it.\n")
    assert main(["rank", "tea", str(tmp_path / "tea.md"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reranked_by"] == expected
    assert main(["search", "tea", "--docs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reranked_by"] == expected


def test_rank_reads_a_document_a_line_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Grind coffee.\nSteep \x1b[1m green tea\x1b[0m.\n"))
    assert main(["rank", "tea", "-", "--reranker", "lexical"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out  # a document does not steer the terminal
    assert "Steep [1m green tea [0m." in out.splitlines()[2]


def test_search_shows_where_each_document_was(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", "How do I rotate an API key?", "--docs", "examples/knowledge_base", "--top-n", "3"]
    assert main([*arguments, "--reranker", "lexical"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "was", "score", "title", "source"]
    assert [line.split()[0] for line in lines[2:]] == ["1", "2", "3"]
    assert main([*arguments, "--reranker", "input-order", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reranked_by"] == "input-order"
    assert [hit["first_stage_rank"] for hit in found["results"]] == [1, 2, 3]
    assert found["results"][0]["relevance_score"] is None
    assert found["results"][0]["retrieval_score"] > 0
    assert found["results"][0]["text"]


def test_search_says_so_when_nothing_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tea.md").write_text("# Tea\n\nSteep it.\n")
    assert main(["search", "zzz", "--docs", str(tmp_path)]) == 0
    assert "found nothing for: zzz" in capsys.readouterr().out
    assert main(["search", "zzz", "--docs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == []


def test_search_asks_nothing_where_an_argument_is_wrong(
    live: KnowledgeSDKStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "keys", "--top-n", "0"]) == 1
    assert "top_n must be at least 1" in capsys.readouterr().err
    assert live.requests == []


def test_search_asks_knowledgesdk_itself_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "anything"]) == 1
    assert "set KNOWLEDGESDK_API_KEY" in capsys.readouterr().err


def test_export_says_what_it_wrote_and_how_near_to_torch_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"config.json": 649, "onnx/model.onnx": 90_912_345, "onnx/model_qint7.onnx": 23_046_789}
    report = ExportReport(tmp_path, files, 1.24e-6, Agreement(81, 0.0456, 0.0123, 0.987))
    monkeypatch.setattr("ksdk_rerank.engines.export.export", lambda model, folder, *, revision, label: report)
    assert main(["export", "acme/model", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Wrote acme/model to {tmp_path}",
        "",
        "file                       MB",
        "---------------------  ------",
        "config.json             0.001",
        "onnx/model.onnx        90.912",
        "onnx/model_qint7.onnx  23.047",
        "",
        "On a few pairs, logits of model.onnx differ from torch's by at most 1.2e-06.",
        "On 81 pairs not used for calibration, int8 logits differ from float32's by 0.01 on average and by at most"
        " 0.05; Kendall's tau between the two orders is 0.987.",
        f"To measure the effect on your own documents: ksdk-rerank compare --reranker {tmp_path} ...",
    ]
    assert main(["export", "acme/model", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(tmp_path),
        "files": files,
        "max_difference": 1.24e-6,
        "int8": {"pairs": 81, "max_difference": 0.0456, "mean_difference": 0.0123, "kendall": 0.987},
    }


def test_what_is_exported_is_on_the_disk(
    make_model: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("sentence_transformers", "onnxscript"):
        pytest.importorskip(package)
    folder = tmp_path / "out"
    assert main(["export", str(make_model(onnx_file=None, labels=2)), str(folder), "--label", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(folder)
    assert told["files"]["onnx/model_qint7.onnx"] == (folder / "onnx" / "model_qint7.onnx").stat().st_size
    assert told["max_difference"] < 1e-4


def test_quantize_takes_texts_and_says_how_near_to_float32_its_file_is(
    make_model: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, folder = tmp_path / "texts", tmp_path / "out"
    lines = [json.dumps({"query": f"query {number}", "document": "rotate the key " * number}) for number in range(1, 7)]
    lines += [f"create a key and revoke the key {number} and the month of the invoice is nice" for number in range(6)]
    texts.write_text("\n".join(lines), encoding="utf-8")
    assert main(["quantize", str(make_model()), str(folder), "--texts", str(texts)]) == 0
    out = capsys.readouterr().out
    size = (folder / "onnx" / "model_qint7.onnx").stat().st_size
    assert ["onnx/model_qint7.onnx", f"{size / 1e6:.3f}"] in [line.split() for line in out.splitlines()]
    assert "On 9 pairs not used for calibration, int8 logits differ from float32's by 0.0" in out
    texts.write_text('{"question": "how"}', encoding="utf-8")
    assert main(["quantize", "acme/model", str(tmp_path / "other"), "--texts", str(texts)]) == 1
    assert f"{texts}:1: 'query' is missing; add it" in capsys.readouterr().err


def test_an_export_that_fails_is_explained_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["export", "acme/model", str(tmp_path)]) == 1
    assert capsys.readouterr() == ("", f"ksdk-rerank: {tmp_path} is not an empty folder; choose another, or empty it\n")


def test_a_terminal_gets_a_table_of_its_width_and_titles_cannot_control_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    (tmp_path / "tea.md").write_text(f"# [bold]Tea[/bold] \x1b]0;owned\x07 {'and more tea ' * 5}\n\nSteep it.\n")
    assert main(["search", "tea", "--docs", str(tmp_path), "--reranker", "lexical"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]Tea[/bold] ]0;" in out
    assert max(map(len, out.splitlines())) <= 70
    assert len(out.splitlines()) > 3


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_the_demo_quotes_of_a_document_cannot_control_the_terminal(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sentencex")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    (tmp_path / "tea.md").write_text("# Tea\n\nSteep it for long. It is \x1b]0;owned\x07 green. More \x1b[2J of it.\n")
    assert main(["demo", "--docs", str(tmp_path), "--question", "Steep \x1b[2J", "--reranker", "lexical"]) == 0
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\x1b]0;" not in out
    assert "Steep it for long. It is  ]0;owned  green." in out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_reader_that_has_had_enough_is_no_failure_with_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("a document about keys\n" * 5000)  # more than a pipe holds
    command = [sys.executable, "-m", "ksdk_rerank", "rank", "keys", "-", "--reranker", "input-order"]
    with (
        (tmp_path / "lines").open() as lines,
        subprocess.Popen(command, stdin=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as running,
    ):
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"ksdk-rerank {__version__}\n"


def test_no_command_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_doctor_says_what_runs_here_and_how_fast(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("JINA_API_KEY", "not-to-be-shown")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy:3128")
    monkeypatch.setattr("ksdk_rerank.commands.doctor._SLOW", 0)
    assert main(["doctor", "--json", "--reranker", "embedded"]) == 0
    printed = capsys.readouterr().out
    assert not any(secret in printed for secret in ("not-to-be-shown", "password"))
    told = json.loads(printed)
    (run,) = told["rerankers"]
    assert (run["name"], run["engine"], run["problem"]) == ("embedded", "onnx onnx/model_qint7.onnx", "")
    assert run["first"] > 0
    assert run["next"] > 0
    assert told["version"] == __version__
    assert told["keys"] == ["JINA_API_KEY"]
    assert told["packages"]["onnxruntime"]
    assert "HTTPS_PROXY" in told["environment"][0]
    assert told["advice"] == "embedded: over 0 ms for 20 candidates; rerank fewer"  # it is in int8 already


def test_doctor_calls_no_hub_and_no_service_unless_told_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy")
    config = tmp_path / "both.json"
    members = [{"class": "CrossEncoderReranker", "parameters": {"model": "some/model"}}, {"class": "InputOrder"}]
    config.write_text(json.dumps({"class": "Fallback", "parameters": {"rerankers": members}}))
    assert main(["doctor", "--reranker", "tei:http://127.0.0.1:9", "--reranker", str(config)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "tei:http://127.0.0.1:9: a service, which is called only with --online" in lines
    assert any(line.startswith(f"{config}: some/model is not in the cache") for line in lines)
    assert any(line.startswith("Problem: ") and "gopher://proxy" in line for line in lines)
    assert lines[-1].startswith("Advice: tei:http://127.0.0.1:9, ")


def test_doctor_goes_on_where_a_proxy_cannot_even_be_tried(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://alice:s3cret@127.0.0.1:1080")
    monkeypatch.setitem(sys.modules, "socksio", None)
    assert main(["doctor", "--online", "--reranker", "lexical"]) == 0
    printed = capsys.readouterr().out
    assert "ImportError from https://huggingface.co" in printed
    assert "s3cret" not in printed


def test_doctor_shows_no_password_of_a_server_or_a_hub(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://user:of-the-hub@127.0.0.1:9/?token=in-the-query")
    monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", "http://127.0.0.1:9")
    names = ["tei:http://user:of-the-server@127.0.0.1:9", "http://user:of-another@127.0.0.1:9#MODEL"]
    for options in (["--online"], ["--online", "--json"]):
        assert main(["doctor", *options, *(f"--reranker={name}" for name in names)]) == 1
        printed = capsys.readouterr().out
        assert not any(secret in printed for secret in ("of-the-", "of-another", "in-the-query"))
        assert "127.0.0.1:9" in printed
