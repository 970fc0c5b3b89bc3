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
    errors.BadRequest: "the service refuses the input; correct it, sending it again cannot help",
    errors.Unauthorized: "check the API key and what it is allowed to do",
    errors.NotFound: "check base_url and the model's name",
    errors.Redirected: "set base_url to the address it redirects to, redirects would carry the key along",
    errors.SearchUnavailable: "search may be switched off on the server, or base_url may point elsewhere",
    errors.QuotaExceeded: "check the account's balance and plan, or put the reranker into a Fallback",
    errors.RateLimited: "send fewer requests, or give the call a longer timeout so that it can wait its turn",
    errors.ServerError: "try again later, or put the reranker into a Fallback",
    errors.ConnectionFailed: "check the address and the network",
    errors.InvalidEnvironment: "correct or unset that, or pass a client_factory with settings of your own",
    errors.TimedOut: "give the call a longer timeout, or send less",
    errors.BadReply: "check that base_url points to this service and not to a proxy or a web page",
}

# An empty string means the advice of the error's class.
_MEANINGS: Mapping[int, _Meaning] = {
    400: (errors.BadRequest, ""),
    401: (errors.Unauthorized, ""),
    402: (errors.QuotaExceeded, ""),
    403: (errors.Unauthorized, ""),
    404: (errors.NotFound, ""),
    405: (errors.NotFound, "this address takes no POST; check base_url and the model's name"),
    406: (errors.NotFound, "this address offers no JSON; check base_url"),
    407: (errors.Unauthorized, "a proxy on the way asks for a user name and password; put them into its address"),
    408: (errors.TimedOut, "the request took too long to arrive; send less, or try again"),
    409: (errors.ServerError, "what is asked for is busy; try again later, or put the reranker into a Fallback"),
    410: (errors.NotFound, "this address was given up; check base_url and the service's announcements"),
    411: (errors.BadRequest, "something on the way removes Content-Length; check the proxies before the service"),
    413: (errors.BadRequest, "the input is too large; correct it by sending fewer or shorter documents"),
    414: (errors.NotFound, "the address itself is too long; check base_url"),
    415: (errors.NotFound, "this address takes no JSON; check base_url"),
    418: (errors.NotFound, "this is not the service; check base_url"),
    421: (
        errors.ServerError,
        "a proxy or load balancer chose the wrong server; try again, and if it stays check base_url",
    ),
    422: (errors.BadRequest, ""),
    423: (errors.ServerError, "what is asked for is locked; try again later, or put the reranker into a Fallback"),
    424: (errors.ServerError, ""),
    425: (errors.ServerError, ""),
    426: (errors.NotFound, "this address wants another protocol; check base_url, and https:// in it"),
    429: (errors.RateLimited, ""),
    431: (errors.BadRequest, "the headers are too large; check the API key and the headers that a client_factory adds"),
    451: (errors.Unauthorized, "the service may not serve you for legal reasons, often because of the region"),
    498: (errors.BadRequest, "the service rejects a word in the query or a document; sending it again cannot help"),
    499: (errors.ServerError, "the request was cancelled on the way; try again, or put the reranker into a Fallback"),
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


def meaning_of(status: int, said: str, *, retry_after: float | None) -> _Meaning:
    """The error class and the advice for a reply with `status`, text `said` and `retry_after` seconds (or None)."""
    error, advice = _MEANINGS.get(status) or _meaning_of_class(status)
    if _is_spent(status, said, retry_after):
        error, advice = errors.QuotaExceeded, ""
    return error, advice or ADVICE[error]


def _meaning_of_class(status: int) -> _Meaning:
    """The meaning of an unknown status: that of its class, such as 4xx (RFC 9110, section 15)."""
    if status >= 500:
        return errors.ServerError, ""
    if status >= 400:
        return errors.BadRequest, "the service refuses the request; see its documentation for this status"
    return (errors.Redirected, "") if status >= 300 else (errors.BadReply, "")


def _is_spent(status: int, said: str, retry_after: float | None) -> bool:
    """Whether a 403 or 429 means that the account's quota is exhausted, not that the key or the rate is at fault."""
    if status == 403:
        return bool(_SPENT.search(said) or _LIMITED.search(said))
    if status != 429:
        return False
    passes = retry_after is not None or _PASSES.search(said)
    return bool(_SPENT.search(said) or (_LIMITED.search(said) and not passes))
