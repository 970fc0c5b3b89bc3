"""Where a model's files are: in a folder, or on a hub and in its cache. Only files that are asked for are fetched."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ksdk_rerank.engines.base import Settings
from ksdk_rerank.errors import ModelNotFound
from ksdk_rerank.models import folder_of

__all__ = ["Files", "locate"]

_COMMIT = re.compile("[0-9a-f]{40}")

_HUB_TIMEOUT = 10.0
"""Seconds to wait for a sign of life; as huggingface_hub's own DEFAULT_ETAG_TIMEOUT (2.4.0)."""

logger = logging.getLogger(__name__)

_WAYS_OUT = (
    "Pass the model's folder; or set HF_ENDPOINT to a mirror; or fill the cache where there is a network and pass"
    " local_files_only=True; or use the one that is here already: load_reranker('embedded')"
)


class Files(Protocol):
    """The files of one model.

    Attributes:
        location: what loaders of other libraries are to open: a folder, or a hub id.
        revision: the commit on the hub, or None for a folder.
        offline: whether only files that are here already can be had.
    """

    @property
    def location(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def offline(self) -> bool: ...

    def find(self, name: str) -> Path | None:
        """The local path of a file such as `"onnx/model.onnx"`, or None where the model has no such file."""


def locate(settings: Settings) -> Files:
    """The files of `settings.model`.

    Raises:
        ModelNotFound: it is neither a folder here, nor in the hub's cache, nor reachable on a hub.
    """
    folder = folder_of(settings.model)
    if folder.is_dir():
        return _Folder(folder)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", settings.model) or settings.model.startswith("."):
        raise ModelNotFound(f"there is no folder {settings.model}, and this is no hub id. {_WAYS_OUT}")
    return _Hub(settings)


class _Folder:
    revision = None
    offline = True

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        if self.find("config.json") is None:
            raise ModelNotFound(f"the folder {folder} holds no config.json, so no model. {_WAYS_OUT}")

    def find(self, name: str) -> Path | None:
        path = Path(self.location, name)
        return path if path.is_file() else None


class _Hub:
    """A hub repository at one commit.

    The hub is first asked for a sign of life, without the retries of `hf_hub_download`, which take half a minute where
    there is no network. Where the hub does not answer, what is in the cache is all there is; where it does, a file
    that fails to arrive is an error, so that the choice of file never depends on luck.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.location = settings.model
        self.revision = settings.revision or "main"
        self.offline = settings.local_files_only
        config = None
        if self.offline or _COMMIT.fullmatch(self.revision):
            config, _ = self._cached("config.json")
        if config is None and self.offline:
            raise ModelNotFound(f"{self._wanted} is not in the cache, and local_files_only is set. {_WAYS_OUT}")
        if config is None:
            config = self._current_config()
        self.revision = config.parent.name  # .../snapshots/<commit>/config.json

    @property
    def _wanted(self) -> str:
        return f"{self.location} at revision {self.revision!r}" if self._settings.revision else self.location

    def _current_config(self) -> Path:
        from huggingface_hub import get_session, hf_hub_url

        try:
            url = hf_hub_url(self.location, "config.json", revision=self.revision)
            reply = get_session().head(url, timeout=_HUB_TIMEOUT)  # what it says of the model is hf_hub_download's
            if reply.status_code >= 500:
                reply.raise_for_status()
            return self._download("config.json")
        except Exception as error:  # whatever its HTTP client raises: that is requests or httpx, by version
            self.offline = True
            cached, _ = self._cached("config.json")
            if cached is None:
                raise self._explained(error, "config.json") from error
            logger.info("%s: taken from the cache, because the hub said %r", self._wanted, error)
            return cached

    def find(self, name: str) -> Path | None:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        cached, known = self._cached(name)
        if known or self.offline:
            return cached
        try:
            return self._download(name)
        except Exception as error:
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if absent or _status(error) == 404:  # a mirror may give no more than the status
                return None
            raise self._explained(error, name) from error

    def _cached(self, name: str) -> tuple[Path | None, bool]:
        """The path in the cache, and whether the cache knows: it also remembers which files a commit lacks."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(
            self.location, name, cache_dir=self._settings.cache_folder, revision=self.revision
        )
        return Path(cached) if isinstance(cached, str) else None, cached is not None

    def _download(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        with _no_progress_bars():
            path = hf_hub_download(
                self.location,
                name,
                revision=self.revision,
                cache_dir=self._settings.cache_folder,
                token=self._settings.token,
            )
        return Path(path)

    def _explained(self, error: Exception, name: str) -> ModelNotFound:
        """What the hub, or the way to it, has against this model."""
        from huggingface_hub import errors

        if isinstance(error, errors.GatedRepoError):
            said = f"{self.location} is gated: accept its terms on its page, then pass token= or set HF_TOKEN"
        elif isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
            said = (
                f"the hub has no model {self.location}, or does not show it without a token; check the spelling, or"
                " pass token= or set HF_TOKEN"
            )
        elif isinstance(error, errors.RevisionNotFoundError):
            said = f"the hub has no {self._wanted}; check the revision"
        elif _status(error) == 404:
            said = f"{self._wanted} holds no config.json, so no model"
        else:
            said = f"{name} of {self._wanted} could not be fetched ({type(error).__name__}: {error})"
        return ModelNotFound(f"{said}. {_WAYS_OUT}")


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") or are_progress_bars_disabled():  # the user has said so
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
