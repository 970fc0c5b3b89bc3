"""Test a chain offline: a stand-in for the KnowledgeSDK search API, and a server that fails on demand."""

from ksdk_rerank.testing.local_server import Fault, LocalServer, Reply, Request
from ksdk_rerank.testing.stand_in import KnowledgeSDKStandIn

__all__ = ["Fault", "KnowledgeSDKStandIn", "LocalServer", "Reply", "Request"]
