"""Every error this library raises, as one tree.

    RerankError
    ├── MissingExtra               a package that an extra installs is missing (also an `ImportError`)
    ├── MissingKey                 no API key was passed or set in the environment (also a `ValueError`)
    ├── PluginError                a reranker that another package registers cannot be loaded
    ├── ModelError                 a local model cannot be used
    │   ├── ModelNotFound          not in a folder, the cache or the hub
    │   │   └── HubUnreachable     not in the cache, and the hub did not answer      (transient)
    │   ├── UnsupportedModel       not a cross-encoder with one logit, or not for this engine
    │   ├── InferenceFailed        the engine failed while it ran                    (transient)
    │   └── Overloaded             too many calls are waiting for the model          (transient)
    └── ServiceError               a request to a remote service failed
        ├── BadRequest             400, 413, 422, unknown 4xx: the service rejects the input
        ├── Unauthorized           401, 403: the key is missing, wrong or lacks permission
        ├── NotFound               404, 405, 410 and the like: wrong URL or model name
        ├── Redirected             3xx: redirects are not followed, since they would carry the key along
        ├── SearchUnavailable      KnowledgeSDK has search switched off, or the base URL is wrong
        ├── QuotaExceeded          402: the account's credit or quota is used up     (transient)
        ├── RateLimited            429                                               (transient)
        ├── ServerError            5xx, 409, 423, 424, 425: it failed or is busy     (transient)
        ├── ConnectionFailed       no connection, or it broke                        (transient)
        │   └── InvalidEnvironment a proxy or certificate variable cannot be used    (transient)
        ├── TimedOut               a deadline passed (also a `TimeoutError`)         (transient)
        └── BadReply               success, but the reply is malformed               (transient)

After a transient error, another attempt or another reranker may succeed: `Fallback` moves on after these only.
Invalid arguments raise the built-in `ValueError` and `TypeError`.
"""

from __future__ import annotations

import re
from typing import ClassVar

__all__ = [
    "BadReply",
    "BadRequest",
    "ConnectionFailed",
    "HubUnreachable",
    "InferenceFailed",
    "InvalidEnvironment",
    "MissingExtra",
    "MissingKey",
    "ModelError",
    "ModelNotFound",
    "NotFound",
    "Overloaded",
    "PluginError",
    "QuotaExceeded",
    "RateLimited",
    "Redirected",
    "RerankError",
    "SearchUnavailable",
    "ServerError",
    "ServiceError",
    "TimedOut",
    "Unauthorized",
    "UnsupportedModel",
]

_CREDENTIALS = re.compile(r"^((?:[\w-]+:)?https?://|[\w.+-]*://)?.*@", re.DOTALL | re.IGNORECASE)
_SHOWN = 200  # maximum characters of an address in a message


class RerankError(Exception):
    """Base class of this library's errors, except for invalid arguments."""

    transient: ClassVar[bool] = False
    """Whether another attempt, or another reranker, may succeed."""


class MissingExtra(RerankError, ImportError):
    """An optional dependency is not installed. The message gives the exact `pip install` line."""

    def __init__(self, message: str, *, extra: str | None = None) -> None:
        super().__init__(message)
        self.extra = extra

    @classmethod
    def of(cls, extra: str, needed_by: str) -> MissingExtra:
        """The error for `needed_by` (a class or command) when `extra` is not installed."""
        return cls(f'{needed_by} needs an optional dependency: pip install "ksdk-rerank[{extra}]"', extra=extra)


class MissingKey(RerankError, ValueError):
    """No API key was passed, and the environment has none."""


class PluginError(RerankError):
    """A reranker that another package registers cannot be loaded, or two packages register the same name."""


class ModelError(RerankError):
    """A local model cannot be used, for example because a file is damaged. The message names the file."""


class ModelNotFound(ModelError):
    """The model is not a local folder, not in the hub's cache and not available from a hub."""


class HubUnreachable(ModelNotFound):
    """The model is not in the cache, and the hub did not answer. Another attempt may find it."""

    transient = True


class UnsupportedModel(ModelError):
    """The model loads, but is not a cross-encoder with one logit, or does not work with this engine."""


class InferenceFailed(ModelError):
    """The engine failed while running the model, or memory ran out. The message quotes the engine."""

    transient = True


class Overloaded(ModelError):
    """The model's queue is full: `max_waiting` calls are already waiting."""

    transient = True


class ServiceError(RerankError):
    """A request to a remote service failed.

    Attributes:
        service: the service's name, such as `"KnowledgeSDK"`.
        status: the HTTP status, or None if there was no reply.
        request_id: the service's id for the request; quote it to the service's support.
        retry_after: seconds that the service asked us to wait, or None.
        body: the start of the reply's text, with keys redacted.
    """

    retryable: ClassVar[bool] = False
    """Whether the request is sent to the same service again, within the call's deadline."""

    def __init__(
        self,
        message: str,
        *,
        service: str = "",
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.service = service
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body


class BadRequest(ServiceError):
    """The service rejected the input. Sending it again does not help."""


class Unauthorized(ServiceError):
    """The key is missing, wrong or lacks permission."""


class NotFound(ServiceError):
    """There is nothing at this URL, or the service does not have the model."""


class Redirected(ServiceError):
    """The service redirects. Redirects are not followed, because they would carry the key along."""


class SearchUnavailable(ServiceError):
    """KnowledgeSDK has search switched off, or the base URL is wrong."""


class QuotaExceeded(ServiceError):
    """The account's credit or quota is used up. Retrying does not help; another service may."""

    transient = True


class RateLimited(ServiceError):
    """Too many requests. `retry_after` is how long to wait, if the service stated it."""

    transient = True
    retryable = True


class ServerError(ServiceError):
    """The service failed or is busy."""

    transient = True
    retryable = True


class ConnectionFailed(ServiceError):
    """No connection could be made, or it broke before the reply was complete."""

    transient = True
    retryable = True


class InvalidEnvironment(ConnectionFailed):
    """A proxy, proxy-exclusion or certificate setting in the environment is unusable, so nothing can connect."""

    retryable = False


class TimedOut(ServiceError, TimeoutError):
    """A deadline passed before the reply was complete."""

    transient = True
    retryable = True


class BadReply(ServiceError):
    """The service reported success, but its reply is malformed. Also raised for invalid scores."""

    transient = True


def without_credentials(address: str) -> str:
    """`address` for a message: user name and password redacted, without its query.

    Credentials may contain any character, so the last `@` ends them. A reranker's prefix (`tei:http://...`) stays.
    """
    shown = _CREDENTIALS.sub(r"\1**********@", address).partition("?")[0]
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
