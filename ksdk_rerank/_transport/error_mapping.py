"""Maps a service's failures to our errors: what happened, at which service, and what to do next."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import httpx

from ksdk_rerank import errors
from ksdk_rerank._transport.auth import Authentication
from ksdk_rerank._transport.environment import flaw_of, proxy_for, trust
from ksdk_rerank._transport.failed_replies import (
    Refusal,
    explanation,
    redirect_target,
    request_id_of,
    retry_after_of,
    start_of,
)
from ksdk_rerank._transport.json_reply import JsonReply
from ksdk_rerank._transport.statuses import ADVICE, meaning_of
from ksdk_rerank._transport.urls import shown_url
from ksdk_rerank.timeout import Timeout

__all__ = ["ErrorClass", "Reporter"]

ErrorClass = type[errors.ServiceError] | Callable[[str], type[errors.ServiceError]]
"""An error class, or a function that chooses one from a reply's text."""

_ABOUT_THE_ADDRESS = {
    errors.BadRequest,
    errors.NotFound,
    errors.Redirected,
    errors.SearchUnavailable,
    errors.ConnectionFailed,
    errors.BadReply,
}
"""Errors that quote the requested URL, because a wrong URL may be the cause. A wrong endpoint may also reject input."""

_SHOWN = 500  # maximum characters of a reply's text that an error carries


class Reporter:
    """Creates the errors of one service, with keys redacted.

    Args:
        service: its name, for error messages.
        auth: authenticates its requests, and redacts their secrets; None if it needs no key.
        timeout: the deadlines of one call, for error messages.
        error_of_status: error classes for statuses that have a special meaning for this service.
        reads_environment: whether proxies and certificates come from the environment, not from the user's own client.
    """

    def __init__(
        self,
        service: str,
        auth: Authentication | None,
        timeout: Timeout,
        error_of_status: Mapping[int, ErrorClass],
        reads_environment: bool,
    ) -> None:
        self._service = service
        self._auth = auth
        self._timeout = timeout
        self._error_of_status = error_of_status
        self._reads_environment = reads_environment

    def error(
        self,
        error_class: type[errors.ServiceError],
        what: str,
        *,
        response: httpx.Response | None = None,
        url: str | None = None,
        body: str = "",
        advice: str | None = None,
    ) -> errors.ServiceError:
        """An error of class `error_class`; `advice` defaults to that class's own."""
        status, request_id, retry_after = None, None, None
        message = f"{self._service}: {what}"
        if response is not None:
            url, status = str(response.request.url), response.status_code
            request_id, retry_after = request_id_of(response), retry_after_of(response.headers)
            message = f"{self._service} answered {status}: {what}"
        notes = [f"request id {request_id}"] if request_id else []
        notes += [f"asks to wait {retry_after:g} s"] if retry_after is not None else []
        message += f" ({', '.join(notes)})" if notes else ""
        message += f"; {advice or ADVICE[error_class]}"
        message += _called(url) if url is not None and error_class in _ABOUT_THE_ADDRESS else ""
        return error_class(
            self._redacted(message),
            service=self._service,
            status=status,
            request_id=request_id,
            retry_after=retry_after,
            body=self._redacted(body)[:_SHOWN],
        )

    def bad_reply(self, what: str, reply: JsonReply, *, advice: str | None = None) -> errors.BadReply:
        """The error for JSON of an undocumented shape. `what` describes the problem, `advice` the remedy."""
        message = f"{self._service} answered {reply.status}, but {what}; {advice or ADVICE[errors.BadReply]}"
        return errors.BadReply(
            self._redacted(message + _called(reply.url)),
            service=self._service,
            status=reply.status,
            request_id=reply.request_id,
            body=self._redacted(start_of(reply.content))[:_SHOWN],
        )

    def refused(self, refusal: Refusal, url: str) -> errors.ServiceError:
        """The error for a status other than success. Its class depends on the status, and on words in the body."""
        response, content = refusal.response, refusal.content
        status = response.status_code
        what = self.explanation(content) or response.reason_phrase
        error_class, advice = meaning_of(status, start_of(content), retry_after=retry_after_of(response.headers))
        if special := self._error_of_status.get(status):
            error_class = special if isinstance(special, type) else special(start_of(content))
            advice = ADVICE[error_class]
        elif error_class is errors.Redirected and (target := redirect_target(response)):
            what = f"redirects to {target}"
        elif status == 407 and self._reads_environment and (proxy := proxy_for(url)):
            what = f"{what}; {proxy}, and that proxy asks for a user name and password, or for different ones"
            error_class, advice = errors.InvalidEnvironment, ADVICE[errors.InvalidEnvironment]
        return self.error(error_class, what, response=response, body=start_of(content), advice=advice)

    def broken(self, error: Exception, url: str) -> errors.ServiceError | None:
        """The error for a connection that failed or broke; None if `error` has another cause."""
        if isinstance(error, RuntimeError):  # from asyncio, for example at interpreter shutdown
            return None
        if isinstance(error, httpx.RemoteProtocolError) and "location header" in str(error):  # `_redirect_url` of httpx
            return self.error(errors.Redirected, "redirects to an invalid address")
        if isinstance(error, ssl.SSLError):  # httpcore 1.0 maps those of the handshake only
            error = httpx.ReadError(str(error))
        proxy = proxy_for(url) if self._reads_environment else None
        if proxy and (why := _fault_of(proxy.value, error)):
            return self.error(errors.InvalidEnvironment, f"{proxy}, which {why}")
        through = f" (through a proxy: {proxy})" if proxy else ""
        if isinstance(error, httpx.ConnectTimeout):
            return self.error(errors.TimedOut, f"no connection within {self._timeout.connect:g} s{through}")
        if isinstance(error, httpx.TimeoutException):
            return self.error(errors.TimedOut, f"sent nothing for {self._timeout.read:g} s{through}")
        if not isinstance(error, httpx.TransportError):
            return None
        what = f"{type(error).__name__}: {error or 'no details'}{through}"
        if self._reads_environment and "CERTIFICATE_VERIFY_FAILED" in what:
            trusted, none_at_all = trust()
            what = f"{what}; {trusted}" if trusted else what
            if none_at_all:
                return self.error(errors.InvalidEnvironment, what)
        return self.error(errors.ConnectionFailed, what, url=url)

    def explanation(self, content: bytes) -> str:
        """The service's own explanation in `content`, redacted and truncated for an error message."""
        return self._redacted(explanation(content))[:_SHOWN]

    def _redacted(self, text: str) -> str:
        return text if self._auth is None else self._auth.redacted(text)


def _called(url: str) -> str:
    return f" (called: POST {shown_url(url)})"


def _fault_of(proxy: str, error: Exception) -> str:
    """What makes `proxy` unusable, if that is why the request failed; empty if a retry may work."""
    if not isinstance(error, httpx.TransportError):  # httpcore lets some socket and SOCKS errors through
        return flaw_of(proxy) or f"cannot be used ({type(error).__name__})"
    if isinstance(error, httpx.ConnectError):
        return flaw_of(proxy)
    if isinstance(error, httpx.ProxyError) and not str(error).startswith(("5", "Proxy Server could not connect")):
        return f"refuses the connection: {error}"
    return ""
