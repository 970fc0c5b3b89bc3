"""Files from outside: how each is decoded, which are skipped, and that this is said in one line."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksdk_rerank._text.text_files import decoded, printable, texts_below
from ksdk_rerank.commands.main import main

TEXT = "# Grüße\n\nZwei Zeilen über Schlüssel.\n"
CJK = "# 密钥\n\n旋转密钥。\n"

DECODED = {
    "UTF-8": (TEXT.encode(), TEXT, ""),
    "UTF-8 with a mark": (b"\xef\xbb\xbf" + TEXT.encode(), TEXT, ""),
    "UTF-16 with a mark": (TEXT.encode("utf-16"), TEXT, ""),
    "UTF-16-BE with a mark": (b"\xfe\xff" + CJK.encode("utf-16-be"), CJK, ""),
    "UTF-32 with a mark": (TEXT.encode("utf-32"), TEXT, ""),
    "UTF-32-BE with a mark": (b"\0\0\xfe\xff" + CJK.encode("utf-32-be"), CJK, ""),
    "UTF-16-LE": (TEXT.encode("utf-16-le"), TEXT, "as UTF-16-LE"),
    "UTF-16-BE": (CJK.encode("utf-16-be"), CJK, "as UTF-16-BE"),
    "Latin-1": (TEXT.encode("latin-1"), TEXT, "as Windows-1252"),
    "Windows-1252": ("“Schlüssel” für 5 €".encode("cp1252"), "“Schlüssel” für 5 €", "as Windows-1252"),
    "UTF-8, damaged": (CJK.encode()[:-2] + b"\xff", None, "as UTF-8, with replacements"),
    "UTF-16 with a mark, cut": (TEXT.encode("utf-16")[:-1], None, "as UTF-16-LE, with replacements"),
    "line ends of Windows and old Macs": (b"a\r\nb\rc\n", "a\nb\nc\n", ""),
    "a stray control character": (b"a text with a bell\x07 in it\n", "a text with a bell\x07 in it\n", ""),
    "nothing": (b"", "", ""),
}

BINARY = {
    "PNG": b"\x89PNG\xff",
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "ZIP": b"PK\x03\x04" + b"a" * 100,
    "PDF": b"%PDF-1.7\n1 0 obj\n" + b"a" * 100,
    "gzip": b"\x1f\x8b\x08\x00" + b"x" * 50,
    "all bytes": bytes(range(256)),
    "zeros": b"\0" * 1000,
    "random": bytes((i * 7919 + i * i * 31) % 251 + 1 for i in range(2000)),
    "ELF": b"\x7fELF\x02\x01\x01" + b"\0" * 9,
    "control characters": bytes(range(1, 9)) * 10,
}


@pytest.mark.parametrize(("data", "text", "guess"), DECODED.values(), ids=DECODED)
def test_a_byte_order_mark_decides_then_utf_8_then_a_guess(data: bytes, text: str | None, guess: str) -> None:
    found, remark = decoded(data)
    assert remark == guess
    assert found == text if text is not None else "\ufffd" in found


@pytest.mark.parametrize("data", BINARY.values(), ids=BINARY)
def test_what_is_binary_is_no_text(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^binary$"):
        decoded(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_or_binary(data: bytes) -> None:
    with suppress(ValueError):
        text, _ = decoded(data)
        text.encode("utf-8", "strict")  # without halves of characters


@given(st.text(max_size=100).filter(lambda text: text.isprintable()))
def test_printable_text_in_utf_8_or_with_a_mark_is_read_as_it_is(text: str) -> None:
    for data in (text.encode(), *(f"\ufeff{text}".encode(name) for name in ("utf-8", "utf-16-le", "utf-32-be"))):
        if text.startswith("\ufeff") or data.startswith((b"%PDF-", b"PK", b"BZh", b"GIF8", b"Rar!", b"OggS", b"SQL")):
            continue
        assert decoded(data) == (text, "")


@pytest.mark.parametrize("piece", [b"a\xe9\n", "ñ你".encode(), b"\xff", b"\0a", b"\x01a\x80", b"\r"])
def test_decoding_takes_time_in_proportion_to_the_size(piece: bytes) -> None:
    def seconds(size: int) -> float:
        data = piece * (size // len(piece))
        started = time.process_time()
        with suppress(ValueError):
            decoded(data)
        return time.process_time() - started

    seconds(20_000)
    assert min(seconds(200_000) for _ in range(3)) < 60 * max(min(seconds(20_000) for _ in range(3)), 1e-3)


def folder_of(tmp_path: Path) -> Path:
    """A folder with one of everything that is odd, and two files that are not."""
    folder = tmp_path / "docs"
    (folder / "sub.md").mkdir(parents=True)
    (folder / "plain.md").write_text("# Plain\n\nA key needle.\n")
    (folder / "sub.md" / "deep.txt").write_bytes("needle in UTF-16".encode("utf-16"))
    (folder / "latin.md").write_bytes("# Menü\n\nCafé needle.\n".encode("latin-1"))
    (folder / "wide.txt").write_bytes("needle without a mark".encode("utf-16-le"))
    (folder / "image.md").write_bytes(BINARY["PNG"])
    (folder / ".hidden.md").write_bytes(BINARY["PNG"])
    (folder / "other.png").write_bytes(BINARY["PNG"])
    (folder / "gone.md").symlink_to(folder / "nothing")
    (folder / "loop.md").symlink_to(folder / "loop.md")
    os.mkfifo(folder / "pipe.md")
    (folder / "device.md").symlink_to("/dev/zero")
    (folder / "failing.txt").symlink_to("/proc/self/mem")  # a regular file that cannot be read, for root neither
    with (folder / "huge.md").open("wb") as file:
        file.truncate(10**10)
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.md")).write_text("# Coffee\n\nneedle\n")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes such names, links and pipes")
def test_a_folder_is_read_whatever_is_in_it_and_one_line_says_what_was_odd(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read = {str(name): text for name, text in texts_below(folder_of(tmp_path), {".md", ".txt"})}
    assert list(read) == [r"caf\xe9.md", "latin.md", "plain.md", "sub.md/deep.txt", "wide.txt"]
    assert read["latin.md"] == "# Menü\n\nCafé needle.\n"
    assert read["sub.md/deep.txt"] == "needle in UTF-16"
    (record,) = caplog.records
    said = record.getMessage()
    assert "\n" not in said
    assert "7 skipped: device.md (not a regular file), failing.txt (Input/output error)" in said
    assert "gone.md (No such file or directory), huge.md (larger than 100 MB), image.md (binary) and 2 more" in said
    assert "2 decoded by a guess: latin.md (as Windows-1252), wide.txt (as UTF-16-LE)" in said


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes such names, links and pipes")
def test_a_command_reads_such_a_folder_and_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path)
    assert main(["search", "needle", "--json", "--docs", str(folder), "--reranker", "lexical"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"ksdk-rerank: files in {folder} that are not UTF-8 text: 7 skipped: ")
    assert err.count("\n") == 1
    results = json.loads(out)["results"]
    assert {each["title"] for each in results} == {"Coffee", "Menü", "Plain", "deep", "wide"}
    assert r"caf\xe9.md#coffee" in {each["source"] for each in results}


def test_a_folder_of_plain_text_is_read_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/two.md", "a.txt", "c.MD", "d.png"):
        (tmp_path / name).write_text(name)
    assert [str(name) for name, _ in texts_below(tmp_path, {".md", ".txt"})] == ["a.txt", "b/two.md", "c.MD"]
    assert caplog.records == []


def test_names_can_be_written_anywhere() -> None:
    assert printable("caf\udce9.md") == r"caf\xe9.md"
    assert printable("half \ud83d.md") == r"half \ud83d.md"
    assert printable(Path("grüße.md")) == "grüße.md"


@pytest.fixture(params=["file", "-"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], str]:
    """Put bytes into a file or standard input, and return its name for the command."""
    monkeypatch.chdir(tmp_path)

    def put(data: bytes) -> str:
        Path("file").write_bytes(data)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
        return str(request.param)

    return put


@pytest.mark.parametrize("content", ["a\r\nb", "é\n\nb\n", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_rank_reads_files_and_standard_input_alike(
    content: str, encoding: str, source: Callable[[bytes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = source(content.encode(encoding))
    assert main(["rank", "key", name, "--reranker", "input-order", "--json"]) == 0
    out, err = capsys.readouterr()
    names = [each["name"] for each in json.loads(out)["results"]]
    lines = {"": [], "a\r\nb": ["a", "b"], "é\n\nb\n": ["é", "b", ""]}[content]  # blank documents come last
    assert names == (lines if name == "-" else ["file"])
    said = "standard input" if name == "-" else "file"
    guessed = encoding == "latin-1" and "é" in content
    assert err == (f"ksdk-rerank: {said} is not UTF-8 text; it was decoded as Windows-1252\n" if guessed else "")


def test_rank_refuses_what_is_binary(source: Callable[[bytes], str], capsys: pytest.CaptureFixture[str]) -> None:
    name = source(BINARY["PNG"])
    assert main(["rank", "key", name, "--reranker", "input-order"]) == 1
    said = "standard input" if name == "-" else "file"
    assert capsys.readouterr().err == f"ksdk-rerank: {said} is not UTF-8 text but binary; save it as UTF-8\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes such names")
def test_rank_names_odd_files_so_that_the_name_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.md")
    Path(name).write_text("a key")
    assert main(["rank", "key", name, "--reranker", "lexical"]) == 0
    assert r"caf\xe9.md" in capsys.readouterr().out
    assert main(["rank", "key", name, "--reranker", "lexical", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["name"].endswith(r"caf\xe9.md")
    assert main(["rank", "key", name + "x"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
