"""Finds proxy and certificate settings in the environment that cannot be used, and explains why.

Follows httpx 0.28 (`get_environment_proxies` in httpx/_utils.py, `create_ssl_context` in httpx/_config.py, read
2026-11-26). But: httpx's own errors are not passed on. They name neither the variable nor the file, and may quote half
of a password.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from importlib.util import find_spec
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import httpx

from ksdk_rerank.errors import without_credentials

__all__ = ["Setting", "flaw_of", "proxy_for", "trust", "why_no_client"]

_SCHEMES = ("http", "https", "socks5", "socks5h")
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # the only file names that OpenSSL reads in a certificate folder


class Setting(NamedTuple):
    """A proxy variable and its value. `str` and `repr` redact credentials."""

    variable: str
    value: str

    def __str__(self) -> str:
        return f"{self.variable} is {without_credentials(self.value)!r}"

    def __repr__(self) -> str:
        return f"Setting({self})"


def why_no_client(error: Exception) -> str:
    """Why httpx could not create a client in this environment: the setting at fault, and its flaw."""
    if isinstance(error, OSError):
        return _why_no_certificates(error)
    for proxy in _proxies().values():
        if flaw := flaw_of(proxy.value):
            return f"{proxy}, which {flaw}"
    return _why_no_exclusions() or f"httpx cannot create a client in this environment ({type(error).__name__})"


def proxy_for(url: str) -> Setting | None:
    """The environment's proxy for requests to `url`, or None."""
    target = httpx.URL(url)
    if proxy_bypass(target.host) or "*" in _exclusions():
        return None
    proxies = _proxies()
    return proxies.get(target.scheme) or proxies.get("all")


def flaw_of(proxy: str) -> str:
    """What is wrong with a proxy's address; empty if it looks valid."""
    address = proxy if "://" in proxy else f"http://{proxy}"
    scheme = address.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        return f"does not begin with one of {', '.join(f'{known}://' for known in _SCHEMES)}"
    if scheme.startswith("socks") and find_spec("socksio") is None:
        return 'needs a package for SOCKS: pip install "httpx[socks]"'
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError):
        return "is not an address such as http://proxy:3128"
    if not url.host:
        return "has no host; write an address such as http://proxy:3128"
    if url.port is not None and not 0 < url.port < 65536:
        return "has a port that is not between 1 and 65535"
    return ""


def trust() -> tuple[str, bool]:
    """The setting that restricts which certificates are trusted, in words, and whether it rules out all of them.

    The words are empty if there is no such setting.
    """
    if file := os.environ.get("SSL_CERT_FILE"):
        return f"SSL_CERT_FILE is {file!r}, and only the authorities in that file are trusted", False
    if folders := os.environ.get("SSL_CERT_DIR"):
        if any(map(_has_certificates, folders.split(os.pathsep))):
            return f"SSL_CERT_DIR is {folders!r}, and only the authorities in there are trusted", False
        return f"SSL_CERT_DIR is {folders!r}, where no certificate has a hashed name (see `openssl rehash`)", True
    return "", False


def _proxies() -> dict[str, Setting]:
    proxies = getproxies()
    return {kind: _setting(kind, proxies[kind]) for kind in ("http", "https", "all") if proxies.get(kind)}


def _exclusions() -> list[str]:
    return [entry.strip() for entry in getproxies().get("no", "").split(",") if entry.strip()]


def _setting(kind: str, value: str) -> Setting:
    """The setting under its actual name. Lower case takes precedence, as in `getproxies`."""
    names = [name for name, here in os.environ.items() if name.lower() == f"{kind}_proxy" and here == value]
    return Setting(min(names, key=str.isupper, default=f"the system's setting {kind}_proxy"), value)


def _why_no_exclusions() -> str:
    for entry in _exclusions():
        try:
            httpx.URL(_pattern(entry))
        except (httpx.InvalidURL, ValueError):
            setting = _setting("no", getproxies()["no"])
            return (
                f"{setting}, and its entry {without_credentials(entry)!r} is not a host name, a domain or an address"
                " (separate entries with commas; write IPv6 addresses without brackets, and ports as numbers)"
            )
    return ""


def _pattern(entry: str) -> str:
    """The URL pattern that httpx derives from an entry of NO_PROXY."""
    if "://" in entry:
        return entry
    try:
        address = ipaddress.ip_address(entry.split("/")[0])
    except ValueError:
        return f"all://*{entry}"
    return f"all://[{entry}]" if address.version == 6 else f"all://{entry}"


def _why_no_certificates(error: OSError) -> str:
    log = os.environ.get("SSLKEYLOGFILE")
    if log and error.filename == log:
        return f"SSLKEYLOGFILE is {log!r}, which cannot be written: {error.strerror}"
    if not (file := os.environ.get("SSL_CERT_FILE")):
        return f"the certificates of the package certifi cannot be read ({error.strerror}); reinstall it"
    if isinstance(error, ssl.SSLError):
        return f"SSL_CERT_FILE is {file!r}, which contains no certificates in PEM form, or a damaged one"
    return f"SSL_CERT_FILE is {file!r}, which cannot be read: {error.strerror}"


def _has_certificates(folder: str) -> bool:
    try:
        return any(map(_HASHED.fullmatch, os.listdir(folder)))
    except OSError:
        return False
