"""URLs of services: validates what the user passes, derives the endpoint, and hides secrets in errors."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import httpx

__all__ = ["ENDPOINT", "checked_url", "endpoint_url", "given_url", "is_host_of", "names_a_secret", "shown_url"]

_VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?$", re.ASCII | re.IGNORECASE)
ENDPOINT = re.compile(
    r"/v\d+(?:(?:alpha|beta)\d*)?/[^/]+$"  # any single segment after a version
    r"|[/:._-](?:rerank|reranking|rank|ranking|scores?|embed|embeddings|classify|predict|infer|invoke|invocations)$",
    re.ASCII | re.IGNORECASE,
)
"""Matches the end of a path that is a full endpoint, not a prefix to append to."""

_SECRET_NAME = re.compile(
    r"key(?![a-z])|accesskey|token(?!iz|s)|secret|passw|pwd|credential|signature|auth(?!or(?!i[sz]))|session|jwt|hmac"
    r"|(?<![a-z])(?:sig|code|pass|pw|sas)(?![a-z])",
    re.IGNORECASE,
)
_KEY = re.compile(r"(?:^|[^a-z0-9])(?:sk|pk|key|bearer|eyj)[-_ ]?[a-z0-9]{8}", re.IGNORECASE)
_LONG_WORD = re.compile(r"[a-z0-9+/_=]{24,}", re.IGNORECASE)


def given_url(base_url: str | None, variable: str | None, default: str) -> tuple[str, str]:
    """The URL's origin, for messages, and the URL: `base_url`, the environment's `variable` if any, or `default`."""
    if base_url is None and variable and (value := os.environ.get(variable)):
        return f"the environment variable {variable}", value
    return "base_url", default if base_url is None else base_url


def checked_url(url: str, argument: str = "url", *, example: str = "http://localhost:8000") -> SplitResult:
    """Validate `url` and split it into its parts.

    Args:
        url: an absolute http or https URL. A query is allowed if nothing in it looks like a secret.
        argument: the name of the argument or variable that holds the URL, for messages.
        example: a valid URL, for messages.

    Raises:
        TypeError: `url` is not a string.
        ValueError: `url` is not an absolute http or https URL, or may contain a secret, which is not quoted.
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
    """The URL to post to: `parts` as is if it is a full endpoint, else with a path appended.

    Args:
        parts: a host (`http://host`, `http://host/prefix`), a versioned root (`http://host/v1`) or a full endpoint.
        below_host: the path to append to a host or a prefix.
        below_version: the path to append to a version. None replaces the version with `below_host`, for a service
            that has no version or whose `below_host` contains it.
        whole: matches the end of a full endpoint's path.
    """
    path = parts.path.rstrip("/")
    if version := _VERSION.search(path):
        path = path[: version.start()] + below_host if below_version is None else path + below_version
    elif not whole.search(path):
        path += below_host
    return parts._replace(path=path).geturl()


def is_host_of(url: str, *domains: str) -> bool:
    """Whether the host of `url` is one of `domains` or a subdomain of one."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def shown_url(url: str) -> str:
    """`url` for an error or a log, without the values in its query: one may be an undetected secret."""
    address, _, query = url.partition("?")
    names = [name for name, mark, _ in (each.partition("=") for each in query.split("&")) if mark]
    return address + ("?" if names else "") + "&".join(f"{name}=..." for name in names)


def _split(text: str) -> SplitResult | None:
    """The parts of `text`, or None unless it is an absolute http or https URL."""
    if not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return parts if usable and httpx.URL(text).host else None
    except (ValueError, httpx.InvalidURL):  # a malformed port, unbalanced brackets, an invalid host
        return None


def _has_user_or_fragment(text: str) -> bool:
    """Whether `text` contains "@" or "#", in any form that a parser may read as one."""
    authority = text.partition("://")[2].partition("/")[0]
    return any(mark in unicodedata.normalize("NFKC", text) + unquote(authority) for mark in "@#")


def _without_secrets(text: str) -> str:
    """A malformed URL, quoted for its error. Its query and a malformed port are left out, as they may be secrets."""
    address, mark, _ = text.partition("?")
    return repr(re.sub(r":(?!\d*(?:[:/\]]|$))[^/]*", ":...", address)) + (" and a query" if mark else "")


def _hint(text: str) -> str:
    """What is probably wrong with `text`, to append to a message; empty if unknown."""
    if not text:
        return "; leave it out for the default, if there is one"
    if any(character in string.whitespace or not character.isprintable() for character in text):
        return "; it contains white space or a control character: copy it again"
    scheme, mark, rest = text.partition("://")
    if not mark and not text.startswith("/"):
        return "; begin it with http:// or https://"
    if mark and scheme.lower() not in ("http", "https"):
        return "; only http and https are supported"
    if rest.partition("/")[0].count(":") > 1 and "[" not in rest:
        return "; write an IPv6 address in brackets, such as http://[::1]:8000"
    return ""


def _may_hold_a_secret(query: str) -> bool:
    """Whether a parameter's name or value looks like a secret, or a parameter has no value (it may itself be one)."""
    named = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return any(not value or names_a_secret(name, value) for name, value in named)


def names_a_secret(name: str, value: str = "") -> bool:
    """Whether a parameter, header or field looks like a secret: a key, token, signature, code or password."""
    return bool(_SECRET_NAME.search(name)) or _is_like_a_secret(value)


def _is_like_a_secret(value: str) -> bool:
    """Whether `value` contains a typical key prefix, or a long unbroken run of letters and digits."""
    long_words = (set(word) for word in _LONG_WORD.findall(value))
    return bool(_KEY.search(value)) or any(
        word & set(string.digits) and word & set(string.ascii_letters) for word in long_words
    )
