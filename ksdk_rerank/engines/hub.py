"""Fetches a model's files from a hub or its cache."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.files import WAYS_OUT, Files, graphs_in
from ksdk_rerank.engines.hub_errors import HubErrors, chain_of, may_pass, network_error, status_of
from ksdk_rerank.errors import ModelError, ModelNotFound

__all__ = ["Hub"]

_COMMIT = re.compile("[0-9a-f]{40}")

_HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub to answer, as in huggingface_hub's own DEFAULT_ETAG_TIMEOUT (2.4.0)."""

logger = logging.getLogger(__name__)


class Hub(Files):
    """A model repository on a hub, pinned to one commit.

    First one request probes the hub, without the retries of `hf_hub_download`, which take half a minute without a
    network. If the hub does not answer, only files in the cache are used. If it does, a file that cannot be fetched is
    an error, so the choice of file never depends on luck. There is no probe if `settings` ask for offline use, or name
    a commit whose config.json is in the cache.
    """

    def __init__(self, settings: ModelSettings) -> None:
        from huggingface_hub import constants

        self._settings = settings
        self._errors = HubErrors(settings.model, settings.token)
        self._asked = False
        self._graphs: list[str] | None = None  # found at most once
        self.location = settings.model
        self.revision = settings.revision or "main"
        self.offline = settings.local_files_only or constants.HF_HUB_OFFLINE
        config = None
        if self.offline or _COMMIT.fullmatch(self.revision):
            config, _ = self._cached("config.json")
        if config is None and self.offline:
            setting = "local_files_only" if settings.local_files_only else "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE"
            raise ModelNotFound(f"{self._wanted} is not in the cache, and {setting} is set. {WAYS_OUT}")
        if config is None:
            config = self._current_config()
        self._snapshot = config.parent  # .../snapshots/<commit>/config.json
        self.revision = self._snapshot.name

    @property
    def _wanted(self) -> str:
        return f"{self.location} at revision {self.revision!r}" if self._settings.revision else self.location

    def _current_config(self) -> Path:
        from huggingface_hub import get_session, hf_hub_url

        self._asked = True
        try:
            url = hf_hub_url(self.location, "config.json", revision=self.revision)
            reply = get_session().head(url, timeout=_HUB_TIMEOUT)  # hf_hub_download handles errors about the model
            if may_pass(reply.status_code):
                reply.raise_for_status()
            return self._download("config.json")
        except Exception as error:  # whatever the HTTP client raises: requests or httpx, by version
            self.offline = True
            self.failure = self._errors.explain(error, "config.json", self._wanted)
            cached, _ = self._cached("config.json")
            if cached is None:
                raise self.failure from self._errors.cause(error)
            logger.info(
                "%s: using the cached files, because the hub could not be reached: %s",
                self._wanted,
                self._errors.redacted(repr(error)),
            )
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
            if absent or status_of(error) == 404:  # a mirror may send nothing but the status
                return None
            raise self._errors.explain(error, name, self._wanted) from self._errors.cause(error)

    def graphs(self) -> list[str]:
        if self._graphs is None:
            self._graphs = self._found_graphs()
        return self._graphs

    def _found_graphs(self) -> list[str]:
        """ONNX files in the repository, listed with one request if the hub was reached; else those in the cache.

        Follows https://huggingface.co/docs/hub/api (2026-11-26). But: only the first page is read, a thousand files.
        """
        here = graphs_in(self._snapshot)
        if self.offline or not self._asked:
            return here
        from huggingface_hub import constants, get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        try:
            reply = get_session().get(
                f"{constants.ENDPOINT}/api/models/{self.location}/tree/{self.revision}?recursive=true",
                headers=build_hf_headers(token=self._settings.token),
                timeout=_HUB_TIMEOUT,
            )
            reply.raise_for_status()
            names = [str(entry["path"]) for entry in reply.json() if entry["type"] == "file"]
        except Exception as error:
            logger.info(
                "%s: the hub's list of files could not be fetched (%s)",
                self._wanted,
                self._errors.redacted(repr(error)),
            )
            return here
        return sorted({*here, *(name for name in names if name.lower().endswith(".onnx"))})

    def explained(self, error: Exception) -> ModelError | None:
        from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

        if self.offline:
            absent = any(isinstance(each, (LocalEntryNotFoundError, OfflineModeIsEnabled)) for each in chain_of(error))
            return self.failure if absent else None
        cause = network_error(error)
        if cause is None or status_of(cause) == 404:
            return None
        return self._errors.explain(cause, "a file", self._wanted)

    def _cached(self, name: str) -> tuple[Path | None, bool]:
        """The file's path in the cache, and whether the cache is conclusive: it also records files a commit lacks."""
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(
                self.location, name, cache_dir=self._settings.cache_folder, revision=self.revision
            )
        except HFValidationError:
            return None, False  # raised again when the hub is called
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


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") or are_progress_bars_disabled():  # the user's choice
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
