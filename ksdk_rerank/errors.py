"""What can go wrong, as one tree.

    RerankError
    ├── MissingExtra               a package that an extra installs is missing (also an `ImportError`)
    ├── MissingKey                 no API key was passed and none is in the environment (also a `ValueError`)
    ├── ModelError                 a local model cannot be used
    │   ├── ModelNotFound          neither in the folder, the cache nor the hub
    │   │   └── HubUnreachable     not in the cache, and the hub did not answer      (transient)
    │   ├── UnsupportedModel       not a cross-encoder with one logit, or not for this engine
    │   ├── InferenceFailed        the engine failed while it ran                    (transient)
    │   └── Overloaded             too many calls are waiting for the model          (transient)
    └── ServiceError               a remote service gave no usable answer
        ├── BadRequest             400, 413, 422, unknown 4xx: the service refuses the input
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
        └── BadReply               success, but not in the documented shape          (transient)

After a transient error another attempt or another reranker may succeed: `Fallback` moves on after these and no
others. Invalid arguments raise the built-in `ValueError` and `TypeError`.
"""

from __future__ import annotations

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


class RerankError(Exception):
    """Anything that this library raises on purpose, except wrong arguments."""

    transient: ClassVar[bool] = False
    """Whether another attempt, or another reranker, may well succeed."""


class MissingExtra(RerankError, ImportError):
    """An optional dependency is not installed; the message holds the exact `pip install` line."""

    def __init__(self, message: str, *, extra: str | None = None) -> None:
        super().__init__(message)
        self.extra = extra

    @classmethod
    def of(cls, extra: str, needed_by: str) -> MissingExtra:
        """The error for `needed_by` (a class or command) when `extra` is not installed."""
        return cls(f'{needed_by} needs an optional dependency: pip install "ksdk-rerank[{extra}]"', extra=extra)


class MissingKey(RerankError, ValueError):
    """No API key was passed, and none of the environment variables holds one."""


class ModelError(RerankError):
    """A local model cannot be used, for example because one of its files is damaged; the message names the file."""


class ModelNotFound(ModelError):
    """The model is neither a folder here, nor in the hub's cache, nor reachable on a hub."""


class HubUnreachable(ModelNotFound):
    """The model is not in the cache, and the hub did not answer; another attempt may find it."""

    transient = True


class UnsupportedModel(ModelError):
    """The model loads but is not a cross-encoder with one logit, or not for this engine."""


class InferenceFailed(ModelError):
    """The engine failed while it ran the model, or memory ran out; the message quotes the engine."""

    transient = True


class Overloaded(ModelError):
    """The model's queue is full: as many calls as `max_waiting` allows are waiting already."""

    transient = True


class ServiceError(RerankError):
    """A remote service did not give an answer that can be used.

    Attributes:
        service: whom we asked, such as `"KnowledgeSDK"`.
        status: HTTP status, or None when there was no reply.
        request_id: the service's id of the request, for its support desk.
        retry_after: seconds that the service asked us to wait.
        body: the start of the reply's text, with keys masked.
    """

    retryable: ClassVar[bool] = False
    """Whether the same service is asked again, within the call's deadline."""

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
    """The service refuses the input; sending it again cannot help."""


class Unauthorized(ServiceError):
    """The key is missing, wrong, or not allowed to do this."""


class NotFound(ServiceError):
    """There is nothing at this URL, or the service does not know the model."""


class Redirected(ServiceError):
    """The service redirects, and redirects are not followed because they would carry the key along."""


class SearchUnavailable(ServiceError):
    """KnowledgeSDK's search is switched off, or the base URL points elsewhere."""


class QuotaExceeded(ServiceError):
    """The account's credit or quota is used up. Asking again does not help; another service may."""

    transient = True


class RateLimited(ServiceError):
    """Too many requests; `retry_after` is how long to wait, if the service said so."""

    transient = True
    retryable = True


class ServerError(ServiceError):
    """The service failed."""

    transient = True
    retryable = True


class ConnectionFailed(ServiceError):
    """No connection could be made, or it broke before the reply was complete."""

    transient = True
    retryable = True


class InvalidEnvironment(ConnectionFailed):
    """A proxy, exclusion or certificate setting in the environment cannot be used, so no connection can be made."""

    retryable = False


class TimedOut(ServiceError, TimeoutError):
    """A deadline passed before the reply was complete."""

    transient = True
    retryable = True


class BadReply(ServiceError):
    """The service reported success, but its reply is not in the documented shape."""

    transient = True
