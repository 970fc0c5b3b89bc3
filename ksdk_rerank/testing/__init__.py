"""Tools to test a chain offline: a fake KnowledgeSDK search API, a server that fails on demand, and a test contract.

Only `RerankerContract` needs pytest; it is imported on first use.
"""

from typing import TYPE_CHECKING

from ksdk_rerank.testing.local_server import Fault, LocalServer, Reply, Request
from ksdk_rerank.testing.stand_in import KnowledgeSDKStandIn

if TYPE_CHECKING:
    from ksdk_rerank.testing.contract import RerankerContract

__all__ = ["Fault", "KnowledgeSDKStandIn", "LocalServer", "Reply", "Request", "RerankerContract"]


def __getattr__(name: str) -> object:
    if name != "RerankerContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ksdk_rerank.testing.contract import RerankerContract

    return RerankerContract
