"""`Closing`: what is closed at the end of a `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """Closes itself at the end of a `with` block (by `close`) or `async with` block (by `aclose`)."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held."""

    async def aclose(self) -> None:
        """Like `close`, and also closes what belongs to the running event loop."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
