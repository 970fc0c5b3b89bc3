"""Authentication: API keys that stay secret, and requests that carry a key or are signed with it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from urllib.parse import quote, urlencode

import httpx
from pydantic import SecretStr

from ksdk_rerank._arguments import WrongType
from ksdk_rerank._transport.urls import is_host_of, shown_url
from ksdk_rerank.errors import MissingKey

__all__ = ["ApiKey", "Authentication", "HeaderKey", "QueryKey", "RequestSigner", "key_for"]

# Minimum characters of a secret. NIST SP 800-63B, section 5.1.1.1, sets this minimum for passwords
# (https://pages.nist.gov/800-63-3/sp800-63b.html, read 2026-11-26), and any text may contain "key", "EMPTY" or "123".
_SECRET = 8


class ApiKey:
    """One service's API key, passed in or read from the environment.

    Neither its `repr` nor its pickle contains the key. An unpickled copy reads the environment of its own process.

    Args:
        given: the key, or None to read the first of `variables` that is set.
        service: the service's name, for error messages.
        variables: names of environment variables, in order of preference. There may be none.

    Raises:
        MissingKey: there is no key.
        ValueError: the key is no string, is blank, or contains white space, control or non-ASCII characters, as after a
            bad paste.
    """

    def __init__(self, given: str | SecretStr | None, *, service: str, variables: Sequence[str]) -> None:
        self._service = service
        self._variables = tuple(variables)
        self._secret = None if given is None else self._checked(given, "the given api_key")
        self.get_secret_value()

    def get_secret_value(self) -> str:
        """The key itself, for requests to the service only. Raises `MissingKey` if a copy finds none."""
        if self._secret is None:
            self._secret = self._from_environment()
        if self._secret is None:
            first, *others = self._variables or ("a variable that api_key_variable names",)
            also = f" ({', '.join(others)} also accepted)" if others else ""
            raise MissingKey(f"no {self._service} API key: pass api_key=... or set {first}{also}")
        return self._secret.get_secret_value()

    def redacted(self, text: str) -> str:
        """`text` with every occurrence of the key redacted; services often quote what they refuse.

        Use it for errors and logs only: in data, the same characters may be ordinary text. A key too short to be a
        secret, such as a placeholder for a server without keys, is not redacted, because that would garble the text.
        """
        if self._secret is None or len(self._secret.get_secret_value()) < _SECRET:
            return text
        for form in _forms(self._secret.get_secret_value()):
            text = text.replace(form, "**********")
        return text

    def _from_environment(self) -> SecretStr | None:
        for variable in self._variables:
            if value := os.environ.get(variable):
                return self._checked(value, f"the environment variable {variable}")
        return None

    def _checked(self, key: str | SecretStr, origin: str) -> SecretStr:
        if not isinstance(key, (str, SecretStr)):
            raise WrongType(f"{self._service}: {origin} must be a string, got {type(key).__name__}")
        secret = key if isinstance(key, SecretStr) else SecretStr(key)
        value = secret.get_secret_value()
        if not isinstance(value, str):
            raise WrongType(f"{self._service}: {origin} must be a string, got {type(value).__name__}")
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError(
                f"{self._service}: {origin} is blank or contains white space, control or non-ASCII characters"
                f" ({len(value)} characters); copy the key again"
            )
        return secret

    def __deepcopy__(self, memo: dict[int, object]) -> ApiKey:
        return self  # immutable, and a copy within this process keeps its key

    def __getstate__(self) -> dict[str, object]:
        return {"_service": self._service, "_variables": self._variables, "_secret": None}

    def __repr__(self) -> str:
        return f"ApiKey({self._service!r})"


class Authentication(httpx.Auth):
    """Authenticates every request to a service.

    Subclasses change the request in `auth_flow`, which runs once per attempt, just before the request is sent. So no
    frame of ours holds a secret in a variable.

    Args:
        secrets: every secret that `auth_flow` uses. Errors redact them, and a call fails before it connects if one is
            missing.
    """

    def __init__(self, *secrets: ApiKey) -> None:
        self._secrets = secrets

    def check(self) -> None:
        """Raise `MissingKey` if an unpickled copy finds no key in the environment of its own process."""
        for secret in self._secrets:
            secret.get_secret_value()

    def fingerprint(self) -> str:
        """A hash of all secrets, to tell accounts apart."""
        secrets = json.dumps([secret.get_secret_value() for secret in self._secrets])
        return hashlib.blake2b(secrets.encode(), digest_size=16).hexdigest()

    def redacted(self, text: str) -> str:
        """`text` for an error or a log, with every secret redacted."""
        for secret in self._secrets:
            text = secret.redacted(text)
        return text


class HeaderKey(Authentication):
    """Sends the key in a header: by default as a bearer token."""

    def __init__(self, key: ApiKey, header: str = "Authorization", prefix: str = "Bearer ") -> None:
        super().__init__(key)
        self._key = key
        self._header = header
        self._prefix = prefix

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._header] = self._prefix + self._key.get_secret_value()
        yield request


class QueryKey(Authentication):
    """Sends the key as a parameter of the URL's query. Errors and httpx's log show that URL without its values.

    But: at the level DEBUG, httpcore logs a reply's headers unchanged, and a redirect may quote the key there.
    """

    def __init__(self, key: ApiKey, parameter: str = "key") -> None:
        super().__init__(key)
        self._key = key
        self._parameter = parameter

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        added = urlencode({self._parameter: self._key.get_secret_value()}).encode()
        request.url = _RedactedURL(request.url.copy_with(query=b"&".join(filter(None, (request.url.query, added)))))
        yield request


class RequestSigner(Authentication, ABC):
    """Signs every request. `sign` gets all that a signature may cover, as AWS Signature Version 4 needs it."""

    requires_request_body = True

    @abstractmethod
    def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The headers that sign one request. It runs once per attempt, so retries get a fresh time stamp."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers.update(self.sign(request.method, str(request.url), request.headers, request.content))
        yield request


class _RedactedURL(httpx.URL):
    """A URL that shows no values of its query. httpx logs every request's URL, and tracebacks may show it."""

    def __str__(self) -> str:
        return shown_url(super().__str__())

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"


def key_for(
    url: str, given: str | SecretStr | None, *, service: str, variables: Sequence[str], hosted: Sequence[str]
) -> ApiKey | None:
    """The key to send to `url`: `given`, else the one in the environment; None if the user's own server needs none.

    A key from the environment is sent to any `url` that the user chose, because a gateway needs the service's own key.
    Raises `MissingKey` if there is no key and `url` is on one of `hosted`, the service's own domains.
    """
    try:
        return ApiKey(given, service=service, variables=variables)
    except MissingKey:
        if is_host_of(url, *hosted):
            raise
        return None


def _forms(key: str) -> Iterator[str]:
    """The forms in which a reply may quote the key: plain, JSON, URL, or base64 as in a basic `Authorization`."""
    yield key
    yield json.dumps(key)[1:-1]
    yield json.dumps(key)[1:-1].replace("/", "\\/")
    yield quote(key, safe="")
    for before in range(3):  # the base64 form depends on the key's offset within a group of three bytes
        encoded = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
        whole = encoded[(0, 2, 3)[before] : (before + len(key)) * 4 // 3]  # only characters that encode the key alone
        yield whole
        yield whole.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")
