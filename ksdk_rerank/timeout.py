"""`Timeout`: the deadlines of one call to a service."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ksdk_rerank._arguments import number

__all__ = ["Timeout", "checked_timeout"]


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long to wait for a service, in seconds.

    Attributes:
        connect: for opening a connection.
        read: for the next bytes of a reply.
        total: for the whole call: all attempts, the waits between them, and reading the reply.
    """

    connect: float = 3.0
    read: float = 15.0
    total: float = 30.0

    def __post_init__(self) -> None:
        for name in ("connect", "read", "total"):
            value = number(f"timeout: {name}", getattr(self, name))
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"timeout: {name} must be a positive, finite number of seconds, got {value!r}")
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, timeout: float | Timeout) -> Timeout:
        """`timeout` as a `Timeout`. A number becomes both `total` and `read`: a reply may take all of it to begin."""
        if isinstance(timeout, Timeout):
            return timeout
        return cls(read=timeout, total=timeout)


def checked_timeout(timeout: float | Timeout) -> float | Timeout:
    """Check `timeout` and return it. Raises `ValueError` for a number that is not positive and finite."""
    return timeout if isinstance(timeout, Timeout) else Timeout.of(timeout).total
