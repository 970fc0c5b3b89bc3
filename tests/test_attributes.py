"""Every public class keeps each of its constructor's arguments in an attribute of that name, keys excepted."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

import ksdk_rerank
from ksdk_rerank import (
    Cached,
    Calibrated,
    Cascade,
    CrossEncoderReranker,
    Deduplicated,
    Failure,
    Fallback,
    Fusion,
    InfinityReranker,
    InputOrder,
    JinaReranker,
    KnowledgeSDKClient,
    LexicalReranker,
    LongDocuments,
    NVIDIAReranker,
    Passages,
    Ranked,
    Ranking,
    RerankEndpoint,
    Reranker,
    Scores,
    SearchHit,
    SearchResults,
    TEIReranker,
    Timeout,
    VLLMReranker,
    VoyageReranker,
)
from ksdk_rerank.errors import MissingExtra, ServiceError
from ksdk_rerank.testing import Fault, KnowledgeSDKStandIn, LocalServer, Reply, Request

PACKAGES = {
    "ksdk_rerank": "httpx",
    "ksdk_rerank.errors": "httpx",
    "ksdk_rerank.testing": "httpx",
    "ksdk_rerank.evaluation": "ir_measures",
    "langchain_ksdk_rerank": "langchain_core",
    "llamaindex_ksdk_rerank": "llama_index.core",
}
"""Packages with public names, and what each needs."""

SECRETS = {"api_key", "token"}

Arguments = Mapping[str, Any]


def answer(request: Request) -> Reply:
    return Reply(204)


def service(**more: object) -> Arguments:
    """What classes that ask a service have in common, with values that are no defaults."""
    return {"api_key": "key-of-a-test", "timeout": Timeout(total=4.0), "retries": 1, "client_factory": made, **more}


def leaf(**more: object) -> Arguments:
    """The same of the rerankers among them."""
    return service(max_documents_per_request=3, max_chars_per_document=900, **more)


def made() -> httpx.AsyncClient:
    raise AssertionError("no client is needed")


FIRST, SECOND = LexicalReranker(k1=2.0), InputOrder()
CLIENT = KnowledgeSDKClient("key-of-a-test")
URL = "http://127.0.0.1:9"

EXAMPLES: dict[type, Arguments] = {
    Cached: {"reranker": FIRST, "max_entries": 9, "ttl": 1.5, "store": {}},
    Calibrated: {"reranker": FIRST, "slope": 0.5, "intercept": -1.0},
    Cascade: {"first": FIRST, "second": SECOND, "keep": 7},
    CrossEncoderReranker: {
        "model": "a/b",
        "backend": "onnx",
        "device": "cuda:1",
        "dtype": "int8",
        "max_length": 64,
        "revision": "abc",
        "cache_folder": "models",
        "local_files_only": True,
        "trust_remote_code": False,
        "token": "hf_token",
        "timeout": 1.5,
        "max_waiting": 3,
        "onnx_file": "model_O3.onnx",
        "instruction": "Prefer recent documents",
        "label": "entailment",
    },
    Deduplicated: {"reranker": FIRST, "by": "near", "threshold": 0.5},
    Failure: {"reranker": "a", "error": "TimedOut", "message": "late", "skipped": True},
    Fallback: {"rerankers": [FIRST, SECOND], "cool_down": 5.0},
    Fusion: {"rerankers": [FIRST, SECOND], "k": 10, "weights": [1.0, 0.5]},
    InfinityReranker: leaf(url=URL, model="a/b", raw_scores=True),
    InputOrder: {},
    JinaReranker: leaf(model="jina-reranker-v3", base_url=URL, raw_scores=True, max_concurrency=4),
    KnowledgeSDKClient: service(base_url=URL, empty_when_unavailable=True),
    LexicalReranker: {"k1": 2.0, "b": 0.5},
    LongDocuments: {"reranker": FIRST, "window": 50, "stride": 20, "pool": "mean", "k": 2, "max_windows": 9},
    NVIDIAReranker: leaf(model="a/b", base_url=URL, raw_scores=True, max_concurrency=4),
    RerankEndpoint: leaf(
        url=URL,
        model="a/b",
        api_key_variable="SOME_KEY",
        scores="logit",
        documents_field="input",
        max_concurrency=4,
        extra_headers={"X-Title": "my app"},
        extra_body={"rewrite_query": True},
        extra_query={"version": "2"},
    ),
    Passages: {"reranker": FIRST, "max_tokens_per_document": 50, "language": "de"},
    Ranked: {"index": 1, "document": "d", "score": 0.5, "raw_score": 0.1, "spans": ((0, 1),)},
    Ranking: {
        "results": (Ranked(0, "d"),),
        "reranked_by": "a",
        "usage": {"tokens": 1},
        "truncated": 1,
        "failures": (Failure("a", "b", "c"),),
        "duplicates": {1: 0},
        "query_truncated": True,
    },
    Scores: {
        "raw": [1.0],
        "upper_bound": 2.0,
        "usage": {"tokens": 1},
        "truncated": 1,
        "query_truncated": True,
        "spans": [((0, 1),)],
    },
    SearchHit: {"id": "1", "text": "t", "title": "T", "source": "s", "score": 0.5, "metadata": {"page": 4}},
    SearchResults: {"hits": (SearchHit("1", "t"),), "query": "q", "total": 1},
    TEIReranker: leaf(url=URL, model="a/b", truncate=False, raw_scores=True),
    Timeout: {"connect": 1.0, "read": 2.0, "total": 3.0},
    VLLMReranker: leaf(
        url=URL, model="a/b", truncate=False, raw_scores=True, instruction="Prefer news", max_tokens_per_document=99
    ),
    VoyageReranker: leaf(model="rerank-2.5-lite", base_url=URL, raw_scores=True, max_concurrency=4),
    MissingExtra: {"message": "install it", "extra": "local"},
    ServiceError: {
        "message": "it failed",
        "service": "Jina",
        "status": 500,
        "request_id": "r",
        "retry_after": 1.0,
        "body": "b",
    },
    Fault: {
        "status": 500,
        "headers": {"a": "b"},
        "body": b"b",
        "size": 10,
        "delay": 1.0,
        "drip_headers": 0.1,
        "drip_body": 0.2,
        "cut_after": 3,
        "reset": True,
    },
    KnowledgeSDKStandIn: {"folder": Path("pages"), "api_key": "key-of-a-test", "shape": "results"},
    LocalServer: {"answer": answer},
    Reply: {"status": 200, "headers": {"a": "b"}, "body": b"b"},
    Request: {"method": "GET", "path": "/", "headers": {"a": "b"}, "body": b"b"},
}


def decision_model() -> object:
    from langchain_core.decisions import BaseDecisionModel

    class Silent(BaseDecisionModel):
        _provider = "nobody"

        def _classify(self, state: Any, questions: Any) -> Any:
            raise AssertionError("nothing is asked")

    return Silent(model="silent")


def of_extras() -> dict[type, Arguments]:
    """The same of the classes that need an extra which is installed."""
    found: dict[type, Arguments] = {}
    if find_spec("cohere"):
        found[ksdk_rerank.CohereReranker] = leaf(
            model="rerank-v3.5",
            base_url=URL,
            raw_scores=True,
            max_tokens_per_document=512,
            max_concurrency=4,
            relevant_spans=True,
            span_threshold=0.3,
            max_spans=2,
        )
    limits: Arguments = {"min_keep": 1, "passages": True, "max_tokens": 99, "count_tokens": len, "skip_oversized": True}
    if find_spec("ir_measures"):
        from ksdk_rerank.evaluation import DiskStore

        found[DiskStore] = {"folder": "answers", "read": False}
    if find_spec("langchain_core"):
        from langchain_core.retrievers import BaseRetriever

        import langchain_ksdk_rerank as langchain

        class Nothing(BaseRetriever):
            def _get_relevant_documents(self, query: str, **_: object) -> list[Any]:
                return []

        compressor = langchain.RerankCompressor(reranker=FIRST)
        tags = {"name": "n", "tags": ["t"], "metadata": {"m": 1}}
        found |= {
            langchain.KnowledgeSDKRetriever: {
                "k": 3,
                "api_key": "key-of-a-test",
                "base_url": URL,
                "timeout": 4.0,
                "api_key_id": "i",
                "extra": {"e": 1},
                **tags,
            },
            langchain.RerankCompressor: {"reranker": FIRST, "top_n": 3, "min_score": 0.2, "text": ["title"], **limits},
            langchain.RerankedRetriever: {"base_retriever": Nothing(), "compressor": compressor, "k": 3, **tags},
            langchain.LangChainCrossEncoder: {
                "model": langchain.RerankerCrossEncoder(FIRST),
                "score_kind": ksdk_rerank.ScoreKind.UNIT,
            },
            langchain.RerankerCrossEncoder: {"reranker": FIRST},
            langchain.CompressorReranker: {
                "compressor": compressor,
                "score_kind": ksdk_rerank.ScoreKind.BOUNDED,
                "upper_bound": 10.0,
            },
        }
        if find_spec("langchain_core.decisions"):
            found[langchain.DecisionReranker] = {"model": decision_model(), "max_documents_per_request": 3}
    if find_spec("llama_index"):
        from llama_index.core.callbacks import CallbackManager
        from llama_index.core.schema import MetadataMode

        import llamaindex_ksdk_rerank as llamaindex

        callbacks = CallbackManager()
        bounded = {"score_kind": ksdk_rerank.ScoreKind.BOUNDED, "upper_bound": 10.0}
        found |= {
            llamaindex.PostprocessorReranker: {
                "postprocessor": llamaindex.RerankPostprocessor(reranker=FIRST),
                **bounded,
            },
            llamaindex.KnowledgeSDKRetriever: {
                "similarity_top_k": 3,
                "api_key": "key-of-a-test",
                "base_url": URL,
                "timeout": 4.0,
                "callback_manager": callbacks,
            },
            llamaindex.RerankPostprocessor: {
                **limits,
                "reranker": FIRST,
                "top_n": 3,
                "min_score": 0.2,
                "metadata_mode": MetadataMode.NONE,
                "text": ["title"],
                "callback_manager": callbacks,
            },
        }
    return found


EVERY = EXAMPLES | of_extras()


def public_classes() -> list[type]:
    """Those that somebody can make, or could if they were not abstract."""
    found: set[type] = set()
    for package, needs in PACKAGES.items():
        if find_spec(needs.partition(".")[0]):
            module = importlib.import_module(package)
            found |= {value for name in module.__all__ if inspect.isclass(value := getattr(module, name))}
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def arguments(kind: type) -> list[str]:
    """The names in its constructor's signature."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except ValueError:  # of an exception with nothing of its own
        return []
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def kept(value: object) -> object:
    """Lists may be kept as tuples."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else value


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: f"{kind.__module__.partition('.')[0]}.{kind.__name__}")
def test_each_argument_is_in_an_attribute_of_its_name(kind: Callable[..., object]) -> None:
    given = EVERY[kind]  # type: ignore[index]
    instance = kind(**given)
    for name in given.keys() - SECRETS:
        if name == "message" and isinstance(instance, Exception):
            assert str(instance) == given[name]
            continue
        assert kept(getattr(instance, name)) == kept(given[name]), f"{kind}.{name}"


def test_a_client_that_was_passed_is_the_one_that_is_kept() -> None:
    for kind in EVERY:
        if "client" in arguments(kind):
            assert kind(client=CLIENT).client is CLIENT


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_the_table_above_has_every_public_class_and_every_argument(kind: type) -> None:
    if issubclass(kind, Enum) or inspect.isabstract(kind) or not arguments(kind):
        return
    if kind.__name__ == "DecisionReranker" and not find_spec("langchain_core.decisions"):
        pytest.skip("langchain-core before 1.8 has no decision models")
    if issubclass(kind, ServiceError):
        kind = ServiceError
    missing = set(arguments(kind)) - {"args", "client"} - EVERY.get(kind, {}).keys()
    assert not missing or _is_plain_data(kind), f"{kind} lacks {missing}"


def _is_plain_data(kind: type) -> bool:
    """A dataclass without a constructor of its own cannot but keep its arguments."""
    return "__dataclass_fields__" in vars(kind)


def test_parameters_are_all_arguments_but_keys() -> None:
    for kind, given in EVERY.items():
        if issubclass(kind, Reranker):
            assert kind(**given).parameters().keys() == set(arguments(kind)) - SECRETS
