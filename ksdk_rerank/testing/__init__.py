"""Test a chain offline: a stand-in for the KnowledgeSDK search API, a server that fails on demand, and a contract.

`RerankerContract` needs pytest and is loaded on first use; nothing else here does.
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
