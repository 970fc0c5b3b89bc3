"""Explains why a file could not be fetched from a model hub, and keeps secrets out of what is quoted."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

from ksdk_rerank.engines.files import WAYS_OUT
from ksdk_rerank.engines.foreign_errors import in_one_line
from ksdk_rerank.errors import HubUnreachable, ModelNotFound, without_credentials

__all__ = ["HubErrors", "chain_of", "may_pass", "network_error", "status_of"]

_MAY_PASS = {407, 408, 425, 429}
"""4xx statuses that are not about the model: the proxy wants a password, or the hub wants us to back off."""

_DISK = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOTDIR}

_ADDRESSES = (
    *("HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"),
    *("ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"),
)
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that huggingface_hub's HTTP client reads. The client is requests or httpx, by version."""


class HubErrors:
    """Turns the errors of huggingface_hub and its HTTP client into ours, for one model and its access token."""

    def __init__(self, model: str, token: str | None) -> None:
        self._model = model
        self._token = token

    def explain(self, error: Exception, name: str, wanted: str) -> ModelNotFound:
        """The error to raise if the file `name` of the model `wanted` could not be fetched, with cause and advice.

        The hub's own answer about the model is final: `ModelNotFound`. Trouble on the way may pass: `HubUnreachable`.
        That covers no connection, a proxy's or portal's answer, a certificate that cannot be verified, and a hub that
        is overloaded or down.
        """
        from huggingface_hub import errors

        chain = list(chain_of(error))
        status = next((status for each in chain if (status := status_of(each)) is not None), None)
        kind: type[ModelNotFound] = ModelNotFound
        if any(isinstance(each, errors.GatedRepoError) for each in chain):
            said = f"{self._model} is gated: accept its terms on the hub, then pass token= or set HF_TOKEN"
        elif any(isinstance(each, (errors.RepositoryNotFoundError, errors.HFValidationError)) for each in chain):
            said = (
                f"the hub has no model {self._model}, or does not show it without a token; check the spelling, or"
                " pass token= or set HF_TOKEN"
            )
        elif any(isinstance(each, errors.RevisionNotFoundError) for each in chain):
            said = f"the hub has no {wanted}; check the revision"
        elif any(isinstance(each, errors.OfflineModeIsEnabled) for each in chain):
            said = f"{name} of {wanted} is not in the cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
        elif status == 404:
            said = f"{wanted} has no {name}, so it cannot be loaded"
        else:
            said = f"{name} of {wanted} could not be fetched ({self._quoted(chain)})"
            if isinstance(error, OSError) and error.errno in _DISK and type(error).__module__ == "builtins":
                said += "; check the cache folder (cache_folder= or HF_HOME) and its disk"
            elif status is None or may_pass(status):
                kind = HubUnreachable
                said += _variables(chain)
        return kind(f"{said}. {WAYS_OUT}")

    def _quoted(self, chain: list[Exception]) -> str:
        """The first informative error in the chain: `hf_hub_download`'s own only mentions its cache."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        said = next((each for each in chain if not isinstance(each, LocalEntryNotFoundError)), chain[0])
        return self.redacted(f"{type(said).__name__}: {in_one_line(said)}")

    def redacted(self, text: str) -> str:
        """Redact secrets in `text`: the token, and credentials before the `@` of an address in the environment.

        An HTTP client may quote any part of a malformed address, so each part is redacted.
        """
        from huggingface_hub import get_token

        tokens = f"{self._token or ''} {get_token() or ''}"
        secrets = set(re.split(r"[^!-~]+", tokens))  # the parts between white space, which a `repr` escapes
        for name in _ADDRESSES:
            before, at, _ = os.environ.get(name, "").rpartition("@")
            if at:
                parts = re.split("[/:@?#]+", before.partition("://")[2] or before)
                secrets |= {*parts, *map(unquote, parts)}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "**********") if len(secret) > 2 else text
        return text

    def cause(self, error: Exception) -> Exception | None:
        """`error`, to raise from; None if a traceback would show a secret in it."""
        return error if all(self.redacted(str(each)) == str(each) for each in chain_of(error)) else None


def _variables(chain: list[Exception]) -> str:
    """Environment variables that may be at fault, with their values. Credentials are redacted."""
    of_files = any(isinstance(each, OSError) and each.errno == errno.ENOENT for each in chain)
    of_certificates = of_files or any(
        "certificate" in str(each).lower() and type(each).__name__ != "FileMetadataError" for each in chain
    )
    names = _CERTIFICATES if of_certificates else _ADDRESSES
    variables = [f"{name}={without_credentials(os.environ[name])}" for name in names if os.environ.get(name)]
    return f"; check the environment: {', '.join(variables)}" if variables else ""


def may_pass(status: int) -> bool:
    """Whether a failed request may succeed later: the hub is down or overloaded, or a proxy is in the way."""
    return status >= 500 or status in _MAY_PASS


def chain_of(error: BaseException) -> Iterator[Exception]:
    """An error, then its cause or context, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while isinstance(following, Exception) and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def status_of(error: Exception) -> int | None:
    """The HTTP status that the hub, or a proxy, replied with; None if there was no reply."""
    return getattr(getattr(error, "response", None), "status_code", None)


def network_error(error: Exception) -> Exception | None:
    """The first network error in the chain: one of Python's, or from a package that huggingface_hub uses for HTTP."""
    clients = ("requests", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "huggingface_hub", "hf_xet")
    for each in chain_of(error):
        if isinstance(each, ConnectionError | TimeoutError) or type(each).__module__.partition(".")[0] in clients:
            return each
    return None
