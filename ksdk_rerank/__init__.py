"""Rerankers for retrieval-augmented generation: candidates in, best order out.

    from ksdk_rerank import load_reranker

    reranker = load_reranker("lexical")
    for hit in reranker.rank("How do I rotate a key?", ["Keys rotate daily.", "Colour keys."], top_n=1):
        print(hit.score, hit.document)

The names below are imported on first use, so importing this package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksdk_rerank._exports import MODULES, exported
from ksdk_rerank._version import __version__

if TYPE_CHECKING:
    from ksdk_rerank.base import Reranker, ScoringReranker
    from ksdk_rerank.compose.cached import Cached
    from ksdk_rerank.compose.calibrated import Calibrated, calibrated
    from ksdk_rerank.compose.cascade import Cascade
    from ksdk_rerank.compose.deduplicated import Deduplicated
    from ksdk_rerank.compose.fallback import Fallback
    from ksdk_rerank.compose.fusion import Fusion
    from ksdk_rerank.compose.long_documents import LongDocuments
    from ksdk_rerank.compose.passages import Passages
    from ksdk_rerank.errors import RerankError
    from ksdk_rerank.knowledgesdk import KnowledgeSDKClient, SearchHit, SearchResults
    from ksdk_rerank.loading import from_config, load_reranker, to_config
    from ksdk_rerank.rerankers.cohere import CohereReranker
    from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker
    from ksdk_rerank.rerankers.endpoint import RerankEndpoint
    from ksdk_rerank.rerankers.infinity import InfinityReranker
    from ksdk_rerank.rerankers.input_order import InputOrder
    from ksdk_rerank.rerankers.jina import JinaReranker
    from ksdk_rerank.rerankers.lexical import LexicalReranker
    from ksdk_rerank.rerankers.nvidia import NVIDIAReranker
    from ksdk_rerank.rerankers.tei import TEIReranker
    from ksdk_rerank.rerankers.vllm import VLLMReranker
    from ksdk_rerank.rerankers.voyage import VoyageReranker
    from ksdk_rerank.results import Failure, Ranked, Ranking
    from ksdk_rerank.scores import ScoreKind, Scores
    from ksdk_rerank.timeout import Timeout

__all__ = [
    "Cached",
    "Calibrated",
    "Cascade",
    "CohereReranker",
    "CrossEncoderReranker",
    "Deduplicated",
    "Failure",
    "Fallback",
    "Fusion",
    "InfinityReranker",
    "InputOrder",
    "JinaReranker",
    "KnowledgeSDKClient",
    "LexicalReranker",
    "LongDocuments",
    "NVIDIAReranker",
    "Passages",
    "Ranked",
    "Ranking",
    "RerankEndpoint",
    "RerankError",
    "Reranker",
    "ScoreKind",
    "Scores",
    "ScoringReranker",
    "SearchHit",
    "SearchResults",
    "TEIReranker",
    "Timeout",
    "VLLMReranker",
    "VoyageReranker",
    "__version__",
    "calibrated",
    "from_config",
    "load_reranker",
    "to_config",
]


def __getattr__(name: str) -> object:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = exported(name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
