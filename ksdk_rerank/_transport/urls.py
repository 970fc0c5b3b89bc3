"""Addresses of services: one check for every URL that a user gives, what is made of it, and how errors show it."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import httpx

__all__ = ["ENDPOINT", "checked_url", "endpoint_url", "given_url", "is_host_of", "shown_url"]

_VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?$", re.ASCII | re.IGNORECASE)
ENDPOINT = re.compile(
    r"/v\d+(?:(?:alpha|beta)\d*)?/[^/]+$"  # whatever follows a version directly
    r"|[/:._-](?:rerank|reranking|rank|ranking|scores?|embed|embeddings|classify|predict|infer|invoke|invocations)$",
    re.ASCII | re.IGNORECASE,
)
"""The end of a path that is a whole address, and no prefix to append to."""

_SECRET_NAME = re.compile(
    r"key(?![a-z])|accesskey|token(?!iz|s)|secret|passw|pwd|credential|signature|auth(?!or(?!i[sz]))|session|jwt|hmac"
    r"|(?<![a-z])(?:sig|code|pass|pw|sas)(?![a-z])",
    re.IGNORECASE,
)
_KEY = re.compile(r"(?:^|[^a-z0-9])(?:sk|pk|key|bearer|eyj)[-_ ]?[a-z0-9]{8}", re.IGNORECASE)
_LONG_WORD = re.compile(r"[a-z0-9+/_=]{24,}", re.IGNORECASE)


def given_url(base_url: str | None, variable: str, default: str) -> tuple[str, str]:
    """Where the URL comes from, and the URL: `base_url`, else the environment's `variable`, else `default`."""
    if base_url is None and (value := os.environ.get(variable)):
        return f"the environment variable {variable}", value
    return "base_url", default if base_url is None else base_url


def checked_url(url: str, argument: str = "url", *, example: str = "http://localhost:8000") -> SplitResult:
    """`url` in its parts, ready to be sent to.

    Args:
        url: an absolute http or https address. A query is allowed if nothing in it looks like a secret.
        argument: what the URL was given as, for messages.
        example: a URL that would do, for messages.

    Raises:
        TypeError: it is not a string.
        ValueError: it is not such an address, or holds what may be a secret. What may be one is not quoted.
    """
    if not isinstance(url, str):
        raise TypeError(f"{argument} must be a string, got {type(url).__name__}; pass one such as {example}")
    text = url.strip()
    if _has_user_or_fragment(text):
        raise ValueError(
            f"{argument} must have no user name, password or fragment (no '@' and no '#'); pass a key as api_key=...,"
            " and add other credentials to the headers of a client_factory's client"
        )
    parts = _split(text)
    if parts is None:
        raise ValueError(f"{argument} must be like {example}, got {_without_secrets(text)}{_hint(text)}")
    if _may_hold_a_secret(parts.query):
        raise ValueError(
            f"{argument} has a query in which something looks like a secret: a key, token, signature, code or password,"
            " or a parameter without a value; pass a key as api_key=..., and let a client_factory add other secrets"
        )
    return parts._replace(netloc=parts.netloc.removesuffix(":"))


def endpoint_url(
    parts: SplitResult, *, below_host: str, below_version: str | None, whole: re.Pattern[str] = ENDPOINT
) -> str:
    """The address to post to: that of `parts` if it is a whole one, else what is below it.

    Args:
        parts: a host (`http://host`, `http://host/prefix`), a versioned root (`http://host/v1`) or a whole address.
        below_host: the path to append to a host or a prefix.
        below_version: the path to append to a version; None replaces the version by `below_host`, for a service whose
            version is in `below_host` or that has none.
        whole: what the path of a whole address ends in.
    """
    path = parts.path.rstrip("/")
    if version := _VERSION.search(path):
        path = path[: version.start()] + below_host if below_version is None else path + below_version
    elif not whole.search(path):
        path += below_host
    return parts._replace(path=path).geturl()


def is_host_of(url: str, *domains: str) -> bool:
    """Whether `url` is on one of `domains` or below it."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def shown_url(url: str) -> str:
    """`url` for an error or a log: without its query's values, of which one may be a secret after all."""
    address, _, query = url.partition("?")
    names = [name for name, mark, _ in (each.partition("=") for each in query.split("&")) if mark]
    return address + ("?" if names else "") + "&".join(f"{name}=..." for name in names)


def _split(text: str) -> SplitResult | None:
    """The parts of `text`, or None unless it is an absolute address that can be asked."""
    if not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return parts if usable and httpx.URL(text).host else None
    except (ValueError, httpx.InvalidURL):  # a port that is no number, brackets that do not close, a host that is none
        return None


def _has_user_or_fragment(text: str) -> bool:
    """Whether there is "@" or "#" in `text`, in any form that a parser may take for one."""
    authority = text.partition("://")[2].partition("/")[0]
    return any(mark in unicodedata.normalize("NFKC", text) + unquote(authority) for mark in "@#")


def _without_secrets(text: str) -> str:
    """A malformed URL for its error, without a query and what stands at the place of a port and may be a password."""
    address, mark, _ = text.partition("?")
    return repr(re.sub(r":(?!\d*(?:[:/\]]|$))[^/]*", ":...", address)) + (" and a query" if mark else "")


def _hint(text: str) -> str:
    """What is likely wrong with `text`, as the end of a message."""
    if not text:
        return "; leave it out for the default, if there is one"
    if any(character in string.whitespace or not character.isprintable() for character in text):
        return "; there is white space or a control character in it: copy it again"
    scheme, mark, rest = text.partition("://")
    if not mark and not text.startswith("/"):
        return "; begin it with http:// or https://"
    if mark and scheme.lower() not in ("http", "https"):
        return "; only http and https are spoken"
    if rest.partition("/")[0].count(":") > 1 and "[" not in rest:
        return "; write an IPv6 address in brackets, such as http://[::1]:8000"
    return ""


def _may_hold_a_secret(query: str) -> bool:
    """Whether a parameter has the name of a secret, or a value (or no name at all) that looks like one."""
    named = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return any(not value or _SECRET_NAME.search(name) or _is_like_a_secret(value) for name, value in named)


def _is_like_a_secret(value: str) -> bool:
    """Whether `value` begins as keys do, or has many letters and digits without a break."""
    long_words = (set(word) for word in _LONG_WORD.findall(value))
    return bool(_KEY.search(value)) or any(
        word & set(string.digits) and word & set(string.ascii_letters) for word in long_words
    )
