"""A span a call, for applications with OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from ksdk_rerank import InputOrder, LexicalReranker, _tracing
from ksdk_rerank.commands.main import main
from ksdk_rerank.errors import RateLimited

Call = Callable[..., Any]
SECRET_TEXT = "what nobody should read"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[ReadableSpan, ...]]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(_tracing, "_tracer", lambda: provider.get_tracer("test"))
    yield exporter.get_finished_spans
    provider.shutdown()


def test_a_call_is_a_span_that_tells_numbers_and_no_text(call: Call, spans: Any) -> None:
    call(LexicalReranker().rank, SECRET_TEXT, [SECRET_TEXT, "other", ""], top_n=2)
    (span,) = spans()
    assert span.name == "rerank lexical"
    attributes = dict(span.attributes)
    assert 0 < attributes.pop("ksdk_rerank.score.highest") < 1
    assert attributes == {
        "gen_ai.operation.name": "rerank",
        "gen_ai.request.model": "lexical",
        "gen_ai.response.model": "lexical",
        "gen_ai.rerank.candidate.count": 3,
        "gen_ai.rerank.top_n": 2,
        "ksdk_rerank.results": 2,
        "ksdk_rerank.truncated": 0,
        "ksdk_rerank.query_truncated": False,
        "ksdk_rerank.score.lowest": 0.0,
    }


def test_an_instruction_is_recorded_because_it_is_configuration(call: Call, spans: Any) -> None:
    class Instructed(InputOrder):
        instruction = "Prefer recent documents"

    call(Instructed().rank, SECRET_TEXT, [SECRET_TEXT])
    (span,) = spans()
    assert span.attributes["ksdk_rerank.instruction"] == "Prefer recent documents"
    assert SECRET_TEXT not in span.to_json()


def test_a_failure_is_told_by_its_class(call: Call, spans: Any) -> None:
    class Limited(InputOrder):
        def _rank(self, query: str, documents: Any) -> Any:
            raise RateLimited(f"no more {query}")

    with pytest.raises(RateLimited):
        call(Limited().rank, SECRET_TEXT, ["a"])
    (span,) = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "RateLimited"
    assert SECRET_TEXT not in span.to_json()


def test_what_a_fallback_had_to_pass_over_is_told(call: Call, spans: Any) -> None:
    from ksdk_rerank import Fallback

    class Limited(InputOrder):
        def _rank(self, query: str, documents: Any) -> Any:
            raise RateLimited("no more")

    fallback = Fallback([Limited(), LexicalReranker()])
    call(fallback.rank, "q", ["a"])
    outer = spans()[-1]
    assert outer.attributes["ksdk_rerank.failures"] == "input-order: RateLimited"
    assert outer.attributes["gen_ai.response.model"] == "lexical"
    assert [span.parent.span_id for span in spans()[:-1]] == [outer.context.span_id] * 2
    call(fallback.rank, "q", ["a"])
    assert spans()[-1].attributes["ksdk_rerank.failures"] == "input-order: RateLimited (skipped)"


def test_the_query_is_told_where_it_is_asked_for(call: Call, spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    call(LexicalReranker().rank, "question", ["a"])
    assert spans()[0].attributes["gen_ai.rerank.query.text"] == "question"


def test_constructing_and_configuring_an_adapter_of_langchain_is_no_span(spans: Any) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from langchain_ksdk_rerank import RerankCompressor

    compressor = RerankCompressor("lexical", top_n=2, min_score=0.1)
    compressor.top_n = 1
    with pytest.raises(ValueError, match="top_n"):
        RerankCompressor("lexical", top_n=0)
    assert spans() == ()
    compressor.compress_documents([Document("A key.")], "key")
    assert [span.name for span in spans()] == ["rerank lexical"]


def test_constructing_and_configuring_an_adapter_of_llamaindex_is_no_span(spans: Any) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from llamaindex_ksdk_rerank import RerankPostprocessor

    postprocessor = RerankPostprocessor(reranker="lexical", top_n=2, min_score=0.1)
    postprocessor.reranker, postprocessor.top_n = "input-order", 1
    RerankPostprocessor.from_dict(postprocessor.to_dict())
    with pytest.raises(ValueError, match="top_n"):
        RerankPostprocessor(reranker="lexical", top_n=0)
    assert spans() == ()
    postprocessor.postprocess_nodes([NodeWithScore(node=TextNode(text="A key."))], query_str="key")
    assert [span.name for span in spans()] == ["rerank input-order"]


@pytest.mark.parametrize("options", [[], ["--top-n", "0"]])
def test_a_search_from_the_command_line_is_one_span_or_none(options: list[str], spans: Any, tmp_path: Path) -> None:
    (tmp_path / "key.md").write_text("A key opens a door.", encoding="utf-8")
    status = main(["search", "key", "--docs", str(tmp_path), "--reranker", "lexical", *options])
    counts = [span.attributes["gen_ai.rerank.candidate.count"] for span in spans()]
    assert (status, counts) == ((1, []) if options else (0, [1]))


def test_without_opentelemetry_there_is_nothing_to_import() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from ksdk_rerank import LexicalReranker\n"
        "print(LexicalReranker().rank('q', ['a']).reranked_by)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "lexical\n"
