"""Maps each HTTP status to one of our errors and to advice on what to do next.

Sources, all read 2026-11-26: RFC 9110 (section 15), RFC 4918 (423, 424), RFC 6585 (428, 429, 431), RFC 7725 (451) and
RFC 8470 (425), and the documentation of the services:

- Cohere (https://docs.cohere.com/reference/errors, and the statuses of https://docs.cohere.com/reference/rerank):
  402 is the billing limit, 498 a deny-listed token in the text, 499 a cancelled request that may be sent again.
  Its official SDK (7.3.1) retries 408, 409, 429 and 5xx.
- Jina (https://api.jina.ai/openapi.json): 403 may also be an insufficient balance or a plan's limit, 409 is a busy
  resource.
- Text Embeddings Inference (docs/openapi.json, 1.7.1): 413 is too many documents, 422 a text that cannot be tokenised,
  424 a failed inference, 429 an overloaded model.
- Infinity (infinity_server.py, 0.0.77): 400 is an unknown model, 429 an overloaded one.
- OpenAI (https://platform.openai.com/docs/guides/error-codes), whose error format gateways imitate: 429 with
  `insufficient_quota` means an account without credit; a retry does not help.
- KnowledgeSDK (https://knowledgesdk.com/docs/api-reference) documents 400, 401, 429 and 500. It does not document how
  it reports an exhausted quota.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ksdk_rerank import errors

__all__ = ["ADVICE", "meaning_of"]

_Meaning = tuple[type[errors.ServiceError], str]

ADVICE: Mapping[type[errors.ServiceError], str] = {
    errors.BadRequest: "the service rejects the input; correct it, as a retry cannot help",
    errors.Unauthorized: "check the API key and what it is allowed to do",
    errors.NotFound: "check base_url and the model's name",
    errors.Redirected: "set base_url to the address it redirects to; following it would forward the key",
    errors.SearchUnavailable: "search may be switched off on the server, or base_url may point elsewhere",
    errors.QuotaExceeded: "check the account's balance and plan, or wrap the reranker in a Fallback",
    errors.RateLimited: "send fewer requests, or raise the timeout so that the call can wait longer",
    errors.ServerError: "try again later, or wrap the reranker in a Fallback",
    errors.ConnectionFailed: "check the address and the network",
    errors.InvalidEnvironment: "correct or unset that, or pass a client_factory with your own settings",
    errors.TimedOut: "raise the timeout, or send less",
    errors.BadReply: "check that base_url points to this service and not to a proxy or a web page",
}

# An empty string means the advice of the error's class.
_MEANINGS: Mapping[int, _Meaning] = {
    400: (errors.BadRequest, ""),
    401: (errors.Unauthorized, ""),
    402: (errors.QuotaExceeded, ""),
    403: (errors.Unauthorized, ""),
    404: (errors.NotFound, ""),
    405: (errors.NotFound, "this URL does not accept POST; check base_url and the model's name"),
    406: (errors.NotFound, "this URL does not offer JSON; check base_url"),
    407: (errors.Unauthorized, "a proxy asks for a user name and password; put them into its URL"),
    408: (errors.TimedOut, "the request took too long to arrive; send less, or try again"),
    409: (errors.ServerError, "the resource is busy; try again later, or wrap the reranker in a Fallback"),
    410: (errors.NotFound, "this URL was retired; check base_url and the service's announcements"),
    411: (errors.BadRequest, "something removes Content-Length; check the proxies in front of the service"),
    413: (errors.BadRequest, "the input is too large; send fewer or shorter documents"),
    414: (errors.NotFound, "the URL is too long; check base_url"),
    415: (errors.NotFound, "this URL does not accept JSON; check base_url"),
    418: (errors.NotFound, "this is another service; check base_url"),
    421: (
        errors.ServerError,
        "a proxy or load balancer chose the wrong server; try again, and check base_url if it persists",
    ),
    422: (errors.BadRequest, ""),
    423: (errors.ServerError, "the resource is locked; try again later, or wrap the reranker in a Fallback"),
    424: (errors.ServerError, ""),
    425: (errors.ServerError, ""),
    426: (errors.NotFound, "this URL requires another protocol; check base_url and its https://"),
    429: (errors.RateLimited, ""),
    431: (errors.BadRequest, "the headers are too large; check the API key and the headers that a client_factory adds"),
    451: (errors.Unauthorized, "the service may not serve you for legal reasons, often because of the region"),
    498: (errors.BadRequest, "the service rejects a word in the query or a document; a retry cannot help"),
    499: (errors.ServerError, "the request was cancelled in transit; try again, or wrap the reranker in a Fallback"),
    501: (errors.NotFound, ""),
}

# Jina's AUTHZ_INSUFFICIENT_BALANCE, OpenAI's insufficient_quota, Cohere's "limited to 1000 API calls / month"
_SPENT = re.compile(
    r"(insufficient|not[ _]enough)[ _]?(\w{1,20}[ _])?(quota|balance|credit|funds)"
    r"|(balance|credits?)[ _](is |are )?(insufficient|exhausted|too low|not enough|used up)"
    r"|out of credit|spend(ing)?[ _]limit|(/|per) ?month|monthly",
    re.IGNORECASE,
)
# These words may also describe a limit per minute.
_LIMITED = re.compile(
    r"quota.{0,30}(exceed|exhaust|reach|used up)|(exceed|exhaust|reach|used up|out of).{0,30}quota"
    r"|(resource|usage|plan)[ _]limit",
    re.IGNORECASE,
)
_PASSES = re.compile(
    r"(per|/) ?(s|sec|second|m|min|minute|h|hour)\b|\b[rt]pm\b|retry (in|after) |try again (in|after) ", re.IGNORECASE
)


def meaning_of(status: int, body: str, *, retry_after: float | None) -> _Meaning:
    """The error class and the advice for a reply with `status`, `body` and `retry_after` seconds (or None)."""
    error, advice = _MEANINGS.get(status) or _meaning_of_class(status)
    if _is_spent(status, body, retry_after):
        error, advice = errors.QuotaExceeded, ""
    return error, advice or ADVICE[error]


def _meaning_of_class(status: int) -> _Meaning:
    """The meaning of an unknown status: that of its class, such as 4xx (RFC 9110, section 15)."""
    if status >= 500:
        return errors.ServerError, ""
    if status >= 400:
        return errors.BadRequest, "the service rejects the request; see its documentation for this status"
    return (errors.Redirected, "") if status >= 300 else (errors.BadReply, "")


def _is_spent(status: int, body: str, retry_after: float | None) -> bool:
    """Whether a 403 or 429 means that the account's quota is exhausted, not that the key or the rate is at fault."""
    if status not in (403, 429):
        return False
    passes = status == 429 and (retry_after is not None or _PASSES.search(body))
    return bool(_SPENT.search(body) or (_LIMITED.search(body) and not passes))
