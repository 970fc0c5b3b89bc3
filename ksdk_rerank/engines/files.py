"""Finds a model's files, in a folder or on a hub. Only the files that are needed are fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from ksdk_rerank.engines.engine import Settings
from ksdk_rerank.engines.reading import is_file
from ksdk_rerank.errors import ModelError, ModelNotFound
from ksdk_rerank.models import folder_of

__all__ = ["WAYS_OUT", "WEIGHTS", "Files", "graphs_in", "locate"]

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weights that torch can load. A folder written by `export` has none of these files."""

WAYS_OUT = (
    "Pass the model's folder; or set HF_ENDPOINT to a mirror; or fill the cache where there is a network and pass"
    " local_files_only=True; or use the one that is here already: load_reranker('embedded')"
)


class Files(Protocol):
    """The files of one model, in a folder or on a hub.

    Attributes:
        location: what other libraries' loaders should open: a folder, or a hub id.
        revision: the commit on the hub, or None for a folder.
        offline: whether only files already on this machine are available.
        failure: why the hub could not be reached, if it was tried. Raise it when a file is missing.
    """

    @property
    def location(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def offline(self) -> bool: ...
    @property
    def failure(self) -> ModelNotFound | None: ...

    def find(self, name: str) -> Path | None:
        """The local path of a file such as `"onnx/model.onnx"`, or None if the model has no such file.

        Raises:
            ModelNotFound: the model has it, but it cannot be fetched.
            ModelError: the path is not a regular file, or cannot be read.
        """

    def graphs(self) -> list[str]:
        """Names of the model's ONNX files, as far as known."""

    def explained(self, error: Exception) -> ModelError | None:
        """Translate an error from a library that fetches files itself; None if the hub did not cause it."""


def locate(settings: Settings) -> Files:
    """Find `settings.model`: a local folder if there is one, else a model on the hub or in its cache.

    Raises:
        ModelNotFound: it is not a local folder, not in the hub's cache and not on the hub.
        HubUnreachable: it is not on this machine, and the hub cannot be reached.
    """
    try:
        folder = folder_of(settings.model)
        if folder.is_dir():
            return _Folder(folder)
        is_a_file = folder.is_file()
    except (OSError, RuntimeError) as error:  # no permission, name too long, or no home folder for that user
        raise ModelNotFound(f"the folder {settings.model} cannot be opened ({error}). {WAYS_OUT}") from error
    if is_a_file:
        raise ModelNotFound(
            f"{settings.model} is a file; pass the folder that holds it and its config.json, and the file's name as"
            " onnx_file=... if it is an ONNX graph"
        )
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", settings.model) or settings.model.startswith("."):
        raise ModelNotFound(f"there is no folder {settings.model}, and this is no hub id. {WAYS_OUT}")
    from ksdk_rerank.engines.hub import Hub

    return Hub(settings)


def graphs_in(folder: Path) -> list[str]:
    """Names of the ONNX files in a folder and its direct subfolders."""
    paths = (path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.suffix.lower() == ".onnx")
    return sorted(path.relative_to(folder).as_posix() for path in paths if is_file(path))


class _Folder:
    revision = None
    offline = True
    failure = None

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        if self.find("config.json") is None:
            raise ModelNotFound(f"the folder {folder} holds no config.json, so no model. {WAYS_OUT}")

    def find(self, name: str) -> Path | None:
        path = Path(self.location, name)
        return path if is_file(path) else None

    def graphs(self) -> list[str]:
        return graphs_in(Path(self.location))

    def explained(self, error: Exception) -> ModelError | None:
        return None
