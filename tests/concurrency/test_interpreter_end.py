"""Threads that outlive the main one: Python then refuses work to every `ThreadPoolExecutor`, asyncio's own included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksdk_rerank.testing import KnowledgeSDKStandIn, LocalServer, Reply, Request

PROGRAM = """
import asyncio
import concurrent.futures.thread
import logging
import sys
import tempfile
import threading
import time

import ksdk_rerank as k

server, search, folder, store, when = sys.argv[1:]
logging.disable()  # a fallback tells of what failed


def by_length():
    from langchain_ksdk_rerank import LangChainCrossEncoder

    class ByLength:
        def score(self, pairs):
            return [float(len(document)) for _, document in pairs]

    return LangChainCrossEncoder(ByLength())


stores = []


def stored():
    from ksdk_rerank.evaluation import DiskStore

    stores.append(DiskStore(tempfile.mkdtemp(dir=store)))  # none finds another's answers
    return k.Cached("lexical", store=stores[-1])


RERANKERS = {
    "lexical": lambda: k.LexicalReranker(),
    "local": lambda: k.CrossEncoderReranker(folder, backend="onnx"),
    "tei": lambda: k.TEIReranker(server),
    "tei by address": lambda: k.TEIReranker(server.replace("localhost", "127.0.0.1")),
    "tei in parts": lambda: k.TEIReranker(server, max_documents_per_request=1),
    "jina": lambda: k.JinaReranker(base_url=server, api_key="test-key"),
    "cohere": lambda: k.CohereReranker(base_url=server, api_key="test-key"),
    "fallback": lambda: k.Fallback([k.TEIReranker("http://localhost:9", retries=0), folder]),
    "cascade": lambda: k.Cascade("lexical", folder, keep=2),
    "fusion": lambda: k.Fusion(["lexical", folder]),
    "long-documents": lambda: k.LongDocuments(folder),
    "deduplicated": lambda: k.Deduplicated("lexical"),
    "cached": lambda: k.Cached(folder),
    "stored": stored,
}


def reranked(reranker, way):
    def call():
        if way == "sync":
            return reranker.rank("the key", ["invoice", "key"])
        return asyncio.run(reranker.arank("the key", ["invoice", "key"]))

    def close():
        reranker.close() if way == "sync" else asyncio.run(reranker.aclose())

    return lambda: len(call()), close


def searched(way):
    client = k.KnowledgeSDKClient("sk_test", base_url=search)

    def call():
        return client.search("key") if way == "sync" else asyncio.run(client.asearch("key"))

    return lambda: 2 if call() else 0, client.close


def compressed(way):
    from langchain_core.documents import Document
    from langchain_ksdk_rerank import RerankCompressor

    compressor = RerankCompressor(reranker=folder, top_n=2)
    documents = [Document(page_content="invoice"), Document(page_content="key")]

    def call():
        if way == "sync":
            return compressor.compress_documents(documents, "the key")
        return asyncio.run(compressor.acompress_documents(documents, "the key"))

    return lambda: len(call()), lambda: None


def postprocessed(way):
    from llama_index.core.schema import NodeWithScore, TextNode
    from llamaindex_ksdk_rerank import RerankPostprocessor

    postprocessor = RerankPostprocessor(reranker=folder, top_n=2)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("invoice", "key")]

    def call():
        if way == "sync":
            return postprocessor.postprocess_nodes(nodes, query_str="the key")
        return asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str="the key"))

    return lambda: len(call()), lambda: None


OTHERS = {"search": searched}
if when == "cold":  # the adapters keep nothing between two calls, and take long to import
    RERANKERS["langchain"] = by_length
    OTHERS |= {"compressor": compressed, "postprocessor": postprocessed}
calls = []
for way in ("sync", "async"):
    calls += [(f"{way} {name}", *reranked(build(), way)) for name, build in RERANKERS.items()]
    calls += [(f"{way} {name}", *build(way)) for name, build in OTHERS.items()]
if when == "warm":
    for _, call, _ in calls:
        call()


def late():
    while not concurrent.futures.thread._shutdown or threading.main_thread().is_alive():
        time.sleep(0.001)
    for name, call, close in calls:
        print(name, call())
        close()
    for store in stores:
        store.close()


threading.Thread(target=late).start()
"""

NAMES = ["lexical", "local", "tei", "tei by address", "tei in parts", "jina", "cohere", "fallback"]
NAMES += ["cascade", "fusion", "long-documents", "deduplicated", "cached", "stored"]
CALLED = {"cold": [*NAMES, "langchain", "search", "compressor", "postprocessor"], "warm": [*NAMES, "search"]}


def answer(request: Request) -> Reply:
    body = json.loads(request.body)
    if "texts" in body:
        return Reply.json([{"index": index, "score": 0.5} for index in range(len(body["texts"]))])
    results = [{"index": index, "relevance_score": 0.5} for index in range(len(body["documents"]))]
    return Reply.json({"id": "1", "results": results, "usage": {"total_tokens": 1}})


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """A reranking service and a search service, by host name, which has to be looked up."""
    knowledge = Path("examples/knowledge_base")
    with LocalServer(answer) as reranking, KnowledgeSDKStandIn(knowledge, api_key="sk_test") as search:
        yield reranking.url.replace("127.0.0.1", "localhost"), search.base_url.replace("127.0.0.1", "localhost")


def started(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3),
    reason="async calls can no longer look up host names then: https://github.com/python/cpython/issues/113964",
)
def test_a_thread_that_outlives_the_main_one_can_call_everything(
    servers: tuple[str, str], tiny_bert: str, tmp_path: Path
) -> None:
    arguments = ("-W", "error", "-c", PROGRAM, *servers, tiny_bert, str(tmp_path))
    programs = {when: started(*arguments, when) for when in CALLED}  # at the same time
    for when, program in programs.items():
        out, err = program.communicate(timeout=240)
        expected = "".join(f"{way} {name} 2\n" for way in ("sync", "async") for name in CALLED[when])
        assert (err, out, program.returncode) == ("", expected, 0)


def test_a_program_ends_quietly_while_daemon_threads_call_services_and_models(
    servers: tuple[str, str], tiny_bert: str
) -> None:
    code = """if True:
        import sys, threading, time
        import ksdk_rerank as k
        rerankers = [k.TEIReranker(sys.argv[1]), k.CrossEncoderReranker(sys.argv[2], backend="onnx")]
        def hammer(reranker):
            while True:
                reranker.rank("the key", ["key of the month " * 20, "invoice"] * 20)
        for reranker in rerankers:
            reranker.rank("the key", ["key"])
            for _ in range(3):
                threading.Thread(target=hammer, args=(reranker,), daemon=True).start()
        time.sleep(float(sys.argv[3]))
    """
    programs = [started("-c", code, servers[0], tiny_bert, pause) for pause in ("0", "0.1")]
    for program in programs:
        out, err = program.communicate(timeout=120)
        assert (out, err, program.returncode) == ("", "", 0)
