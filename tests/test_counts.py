"""What calls cost, in counts that no machine changes: batches, tokens, padding, requests, copies and allocations.

If a number below has to go up, every user pays for that. If it can go down, write the new one. One more batch may save
padding: on a processor it costs as much as about 30 tokens.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import onnx
import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from onnx import TensorProto, helper
from tiny_models import WORDS, MakeModel

from ksdk_rerank import (
    Cached,
    Cascade,
    CrossEncoderReranker,
    Fallback,
    InputOrder,
    JinaReranker,
    LexicalReranker,
    LongDocuments,
    Reranker,
    TEIReranker,
)
from ksdk_rerank.engines import hardware, pool
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.first_tokens import FirstTokens
from ksdk_rerank.engines.onnx import OnnxEngine
from ksdk_rerank.testing import LocalServer, Reply, Request
from langchain_ksdk_rerank import RerankCompressor
from llamaindex_ksdk_rerank import RerankPostprocessor

Call = Callable[..., Any]

QUERY = "how do i rotate an api key"
WHOLE = [word for word in WORDS if len(word) > 1]  # those that are one token of the tiny models


def text(number: int, tokens: int) -> str:
    """A text of so many tokens; different numbers give different ones."""
    return " ".join(WHOLE[(number + place * (1 + number % 7)) % len(WHOLE)] for place in range(tokens))


DOCUMENTS = [text(number, (4, 43, 25, 39, 33)[number % 5] + number % 4) for number in range(50)]


class Cost(NamedTuple):
    """What a model was given to do."""

    batches: int
    tokens: int
    padding: int
    tokenized: int  # texts


class Work:
    """Records what onnxruntime and the tokenizer are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._batches: list[tuple[int, int]] = []
        self._tokenized: list[int] = []
        forward = OnnxEngine.forward

        def counted(engine: OnnxEngine, batch: Batch) -> Any:
            self._batches.append((int(batch.mask.sum()), batch.mask.size))
            return forward(engine, batch)

        monkeypatch.setattr(OnnxEngine, "forward", counted)
        for name in ("_encoded", "_with_words"):
            monkeypatch.setattr(FirstTokens, name, self._counting_texts(getattr(FirstTokens, name)))

    def _counting_texts(self, encode: Callable[..., object]) -> Callable[..., object]:
        def counted(tokenizer: FirstTokens, texts: Sequence[str]) -> object:
            self._tokenized.append(len(texts))
            return encode(tokenizer, texts)

        return counted

    def of(self, call: Callable[[], object]) -> Cost:
        """The cost of one call."""
        self._batches.clear()
        self._tokenized.clear()
        call()
        tokens, padded = (sum(each) for each in zip(*self._batches, strict=True))
        return Cost(len(self._batches), tokens, padded - tokens, sum(self._tokenized))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """The work of models that are loaded from now on, on two cores."""
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    pool._runners.clear()
    yield Work(monkeypatch)
    pool._runners.clear()


@pytest.mark.parametrize(
    ("quantizing", "cost"),
    [
        (None, Cost(batches=10, tokens=2013, padding=40, tokenized=51)),
        (helper.make_node("QuantizeLinear", ["logits", "scale"], ["unused"]), Cost(10, 2013, 40, 51)),
        (helper.make_node("DynamicQuantizeLinear", ["logits"], ["un", "us", "ed"]), Cost(50, 2013, 0, 51)),
    ],
    ids=["float32", "fixed ranges", "ranges of the batch"],
)
def test_fifty_documents_of_mixed_lengths_take_few_batches_with_little_padding(
    call: Call, work: Work, make_model: MakeModel, quantizing: onnx.NodeProto | None, cost: Cost
) -> None:
    folder = make_model()
    graph = onnx.load(folder / "onnx/model.onnx")
    if quantizing is not None:
        graph.graph.node.append(quantizing)
        graph.graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [], [1.0]))
        onnx.save(graph, folder / "onnx/model.onnx")
    reranker = CrossEncoderReranker(folder, backend="onnx", onnx_file="onnx/model.onnx")
    assert work.of(lambda: call(reranker.rank, QUERY, DOCUMENTS)) == cost


def test_repeated_documents_are_read_once(call: Call, work: Work, tiny_bert: str) -> None:
    reranker = CrossEncoderReranker(tiny_bert, backend="onnx")
    once = work.of(lambda: call(reranker.rank, QUERY, DOCUMENTS))
    assert work.of(lambda: call(reranker.rank, QUERY, DOCUMENTS * 3)) == once


def test_many_queries_share_batches_and_padding(call: Call, work: Work, tiny_bert: str) -> None:
    reranker = CrossEncoderReranker(tiny_bert, backend="onnx")
    queries = [text(number, 3 + number % 9) for number in range(20)]
    documents = [DOCUMENTS[number : number + 5] for number in range(0, 40, 2)]
    alone = work.of(lambda: [call(reranker.rank, *each) for each in zip(queries, documents, strict=True)])
    together = work.of(lambda: call(reranker.rank_many, queries, documents))
    assert alone == Cost(batches=44, tokens=3985, padding=692, tokenized=120)
    assert together == Cost(batches=11, tokens=3985, padding=137, tokenized=120)


def test_windows_fill_batches_and_each_sentence_is_counted_once(call: Call, work: Work, tiny_bert: str) -> None:
    reranker = LongDocuments(CrossEncoderReranker(tiny_bert, backend="onnx"))
    documents = [". ".join(text(20 * number + sentence, 12) for sentence in range(20)) for number in range(5)]
    assert work.of(lambda: call(reranker.rank, QUERY, documents)) == Cost(
        batches=8, tokens=2785, padding=0, tokenized=147
    )


# Requests


class Service(LocalServer):
    """Answers as Jina and TEI do."""

    def answer(self, request: Request) -> Reply:
        sent = texts_of(request)
        if request.path == "/rerank":
            return Reply.json([{"index": index, "score": 1 / (2 + index)} for index in range(len(sent))])
        results = [{"index": index, "relevance_score": 1 / (2 + index)} for index in range(len(sent))]
        return Reply.json({"results": results})


def texts_of(request: Request) -> list[str]:
    """The documents in a request."""
    body: Any = request.json()
    found: list[str] = body["texts" if request.path == "/rerank" else "documents"]
    return found


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


def jina(service: Service) -> JinaReranker:
    return JinaReranker(api_key="test-key", base_url=service.url)


def rank_twice(call: Call, reranker: Reranker) -> None:
    call(reranker.rank, QUERY, DOCUMENTS[:40])
    call(reranker.rank, QUERY, DOCUMENTS)


REQUESTS: dict[str, tuple[Callable[[Call, Service], object], list[int]]] = {
    "one call": (lambda call, service: call(jina(service).rank, QUERY, DOCUMENTS), [50]),
    "a limit of 32 per request": (
        lambda call, service: call(TEIReranker(service.url).rank, QUERY, DOCUMENTS),
        [18, 32],
    ),
    "ten queries": (lambda call, service: call(jina(service).rank_many, [QUERY] * 10, [DOCUMENTS] * 10), [50] * 10),
    "a cache": (lambda call, service: rank_twice(call, Cached(jina(service))), [10, 40]),
    "a cascade": (
        lambda call, service: call(Cascade(LexicalReranker(), jina(service), keep=20).rank, QUERY, DOCUMENTS),
        [20],
    ),
    "a fallback that is not needed": (
        lambda call, service: call(Fallback([jina(service), InputOrder()]).rank, QUERY, DOCUMENTS),
        [50],
    ),
    "nothing to rank": (lambda call, service: call(jina(service).rank, QUERY, ["", " "]), []),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_call_makes_no_more_requests_than_it_must_and_sends_no_document_twice(
    call: Call, service: Service, case: str
) -> None:
    service.requests.clear()
    ask, sent = REQUESTS[case]
    ask(call, service)
    assert sorted(len(texts_of(request)) for request in service.requests) == sent


# Copies


class CountedDocument(Document):
    copies: int = 0

    def model_copy(self, **options: Any) -> Any:
        self.copies += 1
        return super().model_copy(**options)


class CountedNode(TextNode):
    copies: int = 0

    def model_copy(self, **options: Any) -> Any:
        self.copies += 1
        return super().model_copy(**options)


async def test_adapters_copy_only_what_they_return_and_never_its_text() -> None:
    documents = [CountedDocument(page_content=content) for content in DOCUMENTS]
    compressor = RerankCompressor(InputOrder(), top_n=3)
    found = [compressor.compress_documents(documents, QUERY), await compressor.acompress_documents(documents, QUERY)]
    assert [document.copies for document in documents] == [2, 2, 2] + [0] * 47
    assert all(got.page_content is documents[place].page_content for one in found for place, got in enumerate(one))

    nodes = [CountedNode(text=content) for content in DOCUMENTS]
    scored = [NodeWithScore(node=node) for node in nodes]
    postprocessor = RerankPostprocessor(reranker=InputOrder(), top_n=3)
    postprocessor.postprocess_nodes(scored, query_str=QUERY)
    again = await postprocessor.apostprocess_nodes(scored, query_str=QUERY)
    assert [node.copies for node in nodes] == [2, 2, 2] + [0] * 47
    assert all(got.text is node.text for got, node in zip(again, nodes, strict=False))


# Allocations


def peak_kilobytes(call: Callable[[], object]) -> int:
    """The memory of Python and NumPy at the peak of a call that is not the first, beyond what was there before it.

    The least of three: what other threads of the process take meanwhile, or a table that grows, is counted as well.
    """
    call()
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            call()
            peaks.append(tracemalloc.get_traced_memory()[1] // 1000)
        finally:
            tracemalloc.stop()
    return min(peaks)


def test_a_call_allocates_little_however_long_the_texts_are(work: Work, tiny_bert: str) -> None:
    local = CrossEncoderReranker(tiny_bert, backend="onnx")
    texts = [f"{document} {' the' * 5_000}" for document in DOCUMENTS]  # 1 MB
    many = [f"{number} {document}" for number in range(10) for document in DOCUMENTS]
    documents = [Document(content) for content in texts]
    nodes = [NodeWithScore(node=TextNode(text=content)) for content in texts]
    compressor = RerankCompressor(InputOrder(), top_n=3)
    postprocessor = RerankPostprocessor(reranker=InputOrder(), top_n=3)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "short texts": (lambda: local.rank(QUERY, DOCUMENTS), 67),
        "500 short texts": (lambda: local.rank(QUERY, many), 353),
        "long texts": (lambda: local.rank(QUERY, texts), 71),
        "long texts, cached": (lambda: Cached(local).rank(QUERY, texts), 93),
        "long texts, 8 windows of each": (lambda: LongDocuments(local, max_windows=8).rank(QUERY, texts), 1150),
        "long texts in LangChain": (lambda: compressor.compress_documents(documents, QUERY), 29),
        "long texts in LlamaIndex": (lambda: postprocessor.postprocess_nodes(nodes, query_str=QUERY), 29),
    }
    peaks = {name: peak_kilobytes(call) for name, (call, _) in calls.items()}
    allowed = {name: 1.5 * kilobytes for name, (_, kilobytes) in calls.items()}  # versions of Python differ a little
    assert {name: peak for name, peak in peaks.items() if peak > allowed[name]} == {}
