"""API keys: found in the environment, kept as secrets, left behind by pickle."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pydantic import SecretStr

from ksdk_rerank.errors import MissingKey

__all__ = ["ApiKey"]


class ApiKey:
    """One service's API key, given or taken from the environment.

    Its `repr` shows no key, and a pickle of it holds none: the copy reads the environment of the process that it
    wakes up in.

    Args:
        given: the key, or None to take the first of `variables` that is set.
        service: whose key it is, for messages.
        variables: names of environment variables, the preferred one first.

    Raises:
        MissingKey: there is no key.
        ValueError: the key is blank or has white space or control characters in it, as after a bad paste.
    """

    def __init__(self, given: str | SecretStr | None, *, service: str, variables: Sequence[str]) -> None:
        self._service = service
        self._variables = tuple(variables)
        self._secret = self._from_environment() if given is None else self._checked(given, "the given api_key")
        if self._secret is None:
            raise self._missing()

    def get_secret_value(self) -> str:
        """The key itself, to be sent to the service and nowhere else."""
        if self._secret is None:
            self._secret = self._from_environment()
        if self._secret is None:
            raise self._missing()
        return self._secret.get_secret_value()

    def masked(self, text: str) -> str:
        """`text` with every occurrence of the key masked; services like to quote what they refuse."""
        return text if self._secret is None else text.replace(self._secret.get_secret_value(), "**********")

    def masked_bytes(self, content: bytes) -> bytes:
        """Like `masked`, for a body as it came."""
        return content if self._secret is None else content.replace(self._secret.get_secret_value().encode(), b"*" * 10)

    def _from_environment(self) -> SecretStr | None:
        for variable in self._variables:
            if value := os.environ.get(variable):
                return self._checked(value, f"the environment variable {variable}")
        return None

    def _checked(self, key: str | SecretStr, origin: str) -> SecretStr:
        secret = key if isinstance(key, SecretStr) else SecretStr(key)
        value = secret.get_secret_value()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError(
                f"{self._service}: {origin} is blank or has white space, control or non-ASCII characters in it"
                f" ({len(value)} characters); copy the key again"
            )
        return secret

    def _missing(self) -> MissingKey:
        return MissingKey(
            f"no {self._service} API key: pass api_key=... or set {self._variables[0]}"
            + (f" ({', '.join(self._variables[1:])} also work)" if self._variables[1:] else "")
        )

    def __deepcopy__(self, memo: dict[int, object]) -> ApiKey:
        return self  # it never changes, and a copy within this process keeps its key

    def __getstate__(self) -> dict[str, object]:
        return {"_service": self._service, "_variables": self._variables, "_secret": None}

    def __repr__(self) -> str:
        return f"ApiKey({self._service!r})"
