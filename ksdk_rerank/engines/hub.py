"""Fetches a model's files from a hub or its cache, and explains why a file could not be fetched."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.files import WAYS_OUT, Files, graphs_in
from ksdk_rerank.engines.foreign_errors import in_one_line
from ksdk_rerank.errors import HubUnreachable, ModelError, ModelNotFound, without_credentials

__all__ = ["Hub"]

_COMMIT = re.compile("[0-9a-f]{40}")

_HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub to answer, as in huggingface_hub's own DEFAULT_ETAG_TIMEOUT (2.4.0)."""

_MAY_PASS = {407, 408, 425, 429}
"""4xx statuses that are not about the model: the proxy wants a password, or the hub wants us to back off."""

_DISK = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOTDIR}

_ADDRESSES = (
    *("HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"),
    *("ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"),
)
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that huggingface_hub's HTTP client reads. The client is requests or httpx, by version."""

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
        self._asked = False
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
        self._graphs: list[str] | None = None  # found at most once
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
            if reply.status_code >= 500 or reply.status_code in _MAY_PASS:
                reply.raise_for_status()
            return self._download("config.json")
        except Exception as error:  # whatever the HTTP client raises: requests or httpx, by version
            self.offline = True
            self.failure = self._reason(error, "config.json")
            cached, _ = self._cached("config.json")
            if cached is None:
                raise self.failure from self._cause(error)
            logger.info(
                "%s: using the cached files, because the hub could not be reached: %s",
                self._wanted,
                self._masked(repr(error)),
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
            if absent or _status(error) == 404:  # a mirror may send nothing but the status
                return None
            raise self._reason(error, name) from self._cause(error)

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
                "%s: the hub's list of files could not be fetched (%s)", self._wanted, self._masked(repr(error))
            )
            return here
        return sorted({*here, *(name for name in names if name.lower().endswith(".onnx"))})

    def explained(self, error: Exception) -> ModelError | None:
        from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

        chain = list(_chain(error))
        if self.offline:
            absent = any(isinstance(each, (LocalEntryNotFoundError, OfflineModeIsEnabled)) for each in chain)
            return self.failure if absent else None
        of_hub = next((each for each in chain if _is_network(each)), None)
        return None if of_hub is None or _status(of_hub) == 404 else self._reason(of_hub, "a file")

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

    def _reason(self, error: Exception, name: str) -> ModelNotFound:
        """Turn a failed download into the error to raise, with its cause and advice.

        The hub's own answer about the model is final: `ModelNotFound`. Trouble on the way may pass: `HubUnreachable`.
        That covers no connection, a proxy's or portal's answer, a certificate that cannot be verified, and a hub that
        is overloaded or down.
        """
        from huggingface_hub import errors

        chain = list(_chain(error))
        status = next((status for each in chain if (status := _status(each)) is not None), None)
        kind: type[ModelNotFound] = ModelNotFound
        if any(isinstance(each, errors.GatedRepoError) for each in chain):
            said = f"{self.location} is gated: accept its terms on the hub, then pass token= or set HF_TOKEN"
        elif any(isinstance(each, (errors.RepositoryNotFoundError, errors.HFValidationError)) for each in chain):
            said = (
                f"the hub has no model {self.location}, or does not show it without a token; check the spelling, or"
                " pass token= or set HF_TOKEN"
            )
        elif any(isinstance(each, errors.RevisionNotFoundError) for each in chain):
            said = f"the hub has no {self._wanted}; check the revision"
        elif any(isinstance(each, errors.OfflineModeIsEnabled) for each in chain):
            said = f"{name} of {self._wanted} is not in the cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
        elif status == 404:
            said = f"{self._wanted} has no {name}, so it cannot be loaded"
        else:
            said = f"{name} of {self._wanted} could not be fetched ({self._quoted(chain)})"
            if isinstance(error, OSError) and error.errno in _DISK and type(error).__module__ == "builtins":
                said += "; check the cache folder (cache_folder= or HF_HOME) and its disk"
            elif status is None or status >= 500 or status in _MAY_PASS:
                kind = HubUnreachable
                said += self._variables(chain)
        return kind(f"{said}. {WAYS_OUT}")

    def _variables(self, chain: list[Exception]) -> str:
        """Environment variables that may be at fault, with their values. Credentials are redacted."""
        of_files = any(isinstance(each, OSError) and each.errno == errno.ENOENT for each in chain)
        of_certificates = of_files or any(
            "certificate" in str(each).lower() and type(each).__name__ != "FileMetadataError" for each in chain
        )
        names = _CERTIFICATES if of_certificates else _ADDRESSES
        variables = [f"{name}={without_credentials(os.environ[name])}" for name in names if os.environ.get(name)]
        return f"; check the environment: {', '.join(variables)}" if variables else ""

    def _quoted(self, chain: list[Exception]) -> str:
        """The first informative error in the chain: `hf_hub_download`'s own only mentions its cache."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        said = next((each for each in chain if not isinstance(each, LocalEntryNotFoundError)), chain[0])
        return self._masked(f"{type(said).__name__}: {in_one_line(said)}")

    def _masked(self, text: str) -> str:
        """Redact secrets in `text`: the token, and credentials before the `@` of an address in the environment.

        An HTTP client may quote any part of a malformed address, so each part is redacted.
        """
        from huggingface_hub import get_token

        tokens = f"{self._settings.token or ''} {get_token() or ''}"
        secrets = set(re.split(r"[^!-~]+", tokens))  # the parts between white space, which a `repr` escapes
        for name in _ADDRESSES:
            before, at, _ = os.environ.get(name, "").rpartition("@")
            if at:
                parts = re.split("[/:@?#]+", before.partition("://")[2] or before)
                secrets |= {*parts, *map(unquote, parts)}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "**********") if len(secret) > 2 else text
        return text

    def _cause(self, error: Exception) -> Exception | None:
        """`error`, to raise from; None if a traceback would show a secret in it."""
        return error if all(self._masked(str(each)) == str(each) for each in _chain(error)) else None


def _chain(error: BaseException) -> Iterator[Exception]:
    """An error, then its cause or context, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while isinstance(following, Exception) and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_network(error: Exception) -> bool:
    """Whether an error is a network error: one of Python's, or from a package that huggingface_hub uses for HTTP."""
    clients = ("requests", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "huggingface_hub", "hf_xet")
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.partition(".")[0] in clients


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") or are_progress_bars_disabled():  # the user's choice
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
