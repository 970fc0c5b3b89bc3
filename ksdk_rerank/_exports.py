"""The public classes and functions and the module of each. They are imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

__all__ = ["MODULES", "exported"]

MODULES: Mapping[str, str] = {
    "Reranker": "base",
    "ScoreKind": "scores",
    "Scores": "scores",
    "ScoringReranker": "base",
    "Cached": "compose.cached",
    "Calibrated": "compose.calibrated",
    "calibrated": "compose.calibrated",
    "Cascade": "compose.cascade",
    "Deduplicated": "compose.deduplicated",
    "Fallback": "compose.fallback",
    "Fusion": "compose.fusion",
    "LongDocuments": "compose.long_documents",
    "Passages": "compose.passages",
    "from_config": "loading",
    "to_config": "loading",
    "RerankError": "errors",
    "KnowledgeSDKClient": "knowledgesdk",
    "SearchHit": "knowledgesdk",
    "SearchResults": "knowledgesdk",
    "load_reranker": "loading",
    "CohereReranker": "rerankers.cohere",
    "CrossEncoderReranker": "rerankers.cross_encoder",
    "InfinityReranker": "rerankers.infinity",
    "JinaReranker": "rerankers.jina",
    "TEIReranker": "rerankers.tei",
    "VLLMReranker": "rerankers.vllm",
    "VoyageReranker": "rerankers.voyage",
    "NVIDIAReranker": "rerankers.nvidia",
    "RerankEndpoint": "rerankers.endpoint",
    "InputOrder": "rerankers.input_order",
    "LexicalReranker": "rerankers.lexical",
    "Failure": "results",
    "Ranked": "results",
    "Ranking": "results",
    "Timeout": "timeout",
}


def exported(name: str) -> object:
    """The public class or function called `name`, which must be in `MODULES`."""
    return getattr(importlib.import_module(f"ksdk_rerank.{MODULES[name]}"), name)
