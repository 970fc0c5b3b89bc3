"""`Wrapper`: what all rerankers built from other rerankers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack

from ksdk_rerank._arguments import ordered
from ksdk_rerank.base import Reranker, built, members_of
from ksdk_rerank.loading import load_reranker

__all__ = ["Wrapper", "loaded_members", "resolved"]


class Wrapper(Reranker):
    """A reranker built from other rerankers. It pickles as its constructor arguments.

    Warming it up or closing it does the same to all of them.
    """

    def _release(self) -> None:
        """Release what the wrapper itself holds."""

    def warm_up(self) -> None:
        for member in members_of(self):
            member.warm_up()

    async def awarm_up(self) -> None:
        for member in members_of(self):
            await member.awarm_up()

    def close(self) -> None:
        """Close every member, even if closing one fails. The next call acquires what it needs again."""
        with ExitStack() as stack:
            for member in members_of(self):
                stack.callback(member.close)
            self._release()

    async def aclose(self) -> None:
        """Like `close`, and also closes the connections of the running event loop."""
        async with AsyncExitStack() as stack:
            for member in members_of(self):
                stack.push_async_callback(member.aclose)
            self._release()

    def __reduce__(self) -> tuple[object, ...]:
        return built, (type(self), self.parameters())


def loaded_members(rerankers: Sequence[str | Reranker]) -> tuple[Reranker, ...]:
    """Load each of `rerankers`. Raises `TypeError` if they are not in a list, `ValueError` if it is empty."""
    if isinstance(rerankers, (str, Reranker)):
        raise TypeError(f"rerankers must be a list, got one {type(rerankers).__name__}; wrap it in a list")
    members = tuple(load_reranker(reranker) for reranker in ordered("rerankers", rerankers))
    if not members:
        raise ValueError("rerankers is empty; list at least one reranker or name")
    return members


def resolved(duplicates: Mapping[int, int]) -> dict[int, int]:
    """`duplicates` without chains: a copy of a document that was itself left out points to the one that stays."""
    kept = {}
    for copy, original in duplicates.items():
        while original in duplicates:
            original = duplicates[original]
        kept[copy] = original
    return kept
