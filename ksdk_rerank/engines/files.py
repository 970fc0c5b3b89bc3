"""A model's files: finds and reads them. A damaged file raises `ModelError` with its path and what to do about it."""

from __future__ import annotations

import json
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ksdk_rerank.engines.foreign_errors import in_one_line, is_failure
from ksdk_rerank.errors import ModelError, ModelNotFound

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["WAYS_OUT", "WEIGHTS", "Files", "Folder", "check_start", "damaged", "decoded", "graphs_in", "read_json"]
__all__ += ["read_list", "read_tokenizer"]

T = TypeVar("T")

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weights that torch can load. A folder written by `export` has none of these files."""

WAYS_OUT = (
    "Pass the model's folder; or set HF_ENDPOINT to a mirror; or copy a cache from a machine with a network and pass"
    " local_files_only=True; or use the bundled model: load_reranker('embedded')"
)
"""Advice that ends every message about a model that cannot be found."""

_LFS_POINTER = b"version https://git-lfs"  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md (2026-11-26)
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
_FETCH = "fetch the model again"


class Files(ABC):
    """The files of one model, in a folder or on a hub.

    Attributes:
        location: what other libraries' loaders should open: a folder, or a hub id.
        revision: the commit on the hub, or None for a folder.
        offline: whether only files already on this machine are available.
        failure: why the hub could not be reached, if it was tried. Raise it when a file is missing.
    """

    location: str
    revision: str | None = None
    offline = True
    failure: ModelNotFound | None = None

    @abstractmethod
    def find(self, name: str) -> Path | None:
        """The local path of a file such as `"onnx/model.onnx"`, or None if the model has no such file.

        Raises:
            ModelNotFound: the model has it, but it cannot be fetched.
            ModelError: the path is not a regular file, or cannot be read.
        """

    @abstractmethod
    def graphs(self) -> list[str]:
        """Names of the model's ONNX files, as far as known."""

    def explained(self, error: Exception) -> ModelError | None:
        """Translate an error from a library that fetches files itself; None if the hub did not cause it."""
        return None


class Folder(Files):
    """A model's files in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        if self.find("config.json") is None:
            raise ModelNotFound(f"the folder {folder} has no config.json, so it is not a model. {WAYS_OUT}")

    def find(self, name: str) -> Path | None:
        path = Path(self.location, name)
        return path if _is_file(path) else None

    def graphs(self) -> list[str]:
        return graphs_in(Path(self.location))


def graphs_in(folder: Path) -> list[str]:
    """Names of the ONNX files in a folder and its direct subfolders."""
    paths = (path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.suffix.lower() == ".onnx")
    return sorted(path.relative_to(folder).as_posix() for path in paths if _is_file(path))


def damaged(path: Path, what: str, advice: str = _FETCH) -> ModelError:
    """The error for a file that cannot be used."""
    return ModelError(f"{path} {what}; {advice}")


def _is_file(path: Path) -> bool:
    """Whether `path` is a regular file; False if nothing is there.

    Raises:
        ModelError: it is a folder, a device, a pipe or a broken link, or it cannot be accessed.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise damaged(path, f"is a broken link to {os.readlink(path)}") from error
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        raise damaged(path, f"is {'a folder' if stat.S_ISDIR(mode) else 'a device or a pipe'}, not a file")
    return True


def check_start(path: Path) -> None:
    """Raise `ModelError` if a file is unreadable, empty, a git-lfs pointer or a web page."""
    _read(path, 1024)


def decoded(path: Path) -> str:
    """The text of a file: UTF-8, unless a byte order mark or null bytes show UTF-16 or UTF-32.

    Raises:
        ModelError: the file cannot be read or decoded, is blank, or fails `check_start`.
    """
    content = _read(path)
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        said = f"is not valid {encoding.removesuffix('-sig').upper()} (byte {error.start})"
        raise damaged(path, said, f"{_FETCH}, or save it as UTF-8") from error
    if not text.strip():
        raise damaged(path, "is blank")
    return text


def read_json(path: Path | None) -> Mapping[str, object]:
    """The object in a JSON file; empty if `path` is None. Raises `ModelError` if it contains anything else."""
    return {} if path is None else _parsed(path, dict, "object")


def read_list(path: Path | None) -> list[object]:
    """The list in a JSON file; empty if `path` is None. Raises `ModelError` if it contains anything else."""
    return [] if path is None else _parsed(path, list, "list")


def read_tokenizer(path: Path) -> Tokenizer:
    """Load a new tokenizer from a `tokenizer.json`, with truncation and padding switched off.

    Raises:
        ModelError: the file is damaged, or the tokenizer cannot encode an unknown character.
    """
    from tokenizers import Tokenizer

    text = decoded(path)
    try:
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # No vocabulary has this private-use character. A tokenizer without an unknown token fails here, not in a call.
        tokenizer.encode("a \U000f0000")
    except BaseException as error:  # it raises bare `Exception`; a Rust panic is not even that
        if not is_failure(error):
            raise
        raise damaged(path, f"is not a usable tokenizer ({in_one_line(error)[:300]})") from error
    return tokenizer


def _parsed(path: Path, kind: type[T], name: str) -> T:
    """The content of a JSON file, which must be of that `kind`."""
    text = decoded(path)
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise damaged(path, "is nested too deeply") from error
    except ValueError as error:
        raise damaged(path, f"is not valid JSON ({error})", f"correct it, or {_FETCH}") from error
    if not isinstance(content, kind):
        raise damaged(path, f"contains {_kind(content)}, not a JSON {name}")
    return content


def _read(path: Path, size: int = -1) -> bytes:
    """The first `size` bytes of a file, or all; `check_start` says what is refused."""
    try:
        with path.open("rb") as file:
            content = file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not content:
        raise damaged(path, "is empty")
    if content.startswith(_LFS_POINTER):
        raise damaged(path, "is a git-lfs pointer, not the file itself", "run `git lfs pull` in its repository")
    if content[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_WEB_PAGE):
        raise damaged(path, "is a web page, not the file itself", "download the file itself")
    return content


def _unreadable(path: Path, error: OSError) -> ModelError:
    return damaged(path, f"cannot be read ({error.strerror or error})", "check the path and its permissions")


def _kind(content: object) -> str:
    names = {list: "a list", dict: "an object", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(content), "a number")
