"""`Timeout`: the deadlines of a call to a service."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Timeout"]


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long to wait, in seconds.

    Attributes:
        connect: for a connection to be made.
        read: for the next bytes of a reply.
        total: for the whole call: all attempts, the waits between them, and reading the reply.
    """

    connect: float = 3.0
    read: float = 15.0
    total: float = 30.0

    def __post_init__(self) -> None:
        for name in ("connect", "read", "total"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise ValueError(f"timeout: {name} must be a positive, finite number of seconds, got {value!r}")

    @classmethod
    def of(cls, timeout: float | Timeout) -> Timeout:
        """`timeout` itself; a number is the total, and a reply may take all of it to begin."""
        if isinstance(timeout, Timeout):
            return timeout
        return cls(read=timeout, total=timeout)
