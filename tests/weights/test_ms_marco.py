"""Trained weights, cross-encoder/ms-marco-MiniLM-L-12-v2, through everything that runs them. `.ci/run` fetches them.

KSDK_TEST_WEIGHTS=CACHE pytest tests/weights      (CACHE is what lay_out.py wrote; needs ksdk-rerank[torch])
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from ksdk_rerank import CrossEncoderReranker, LongDocuments
from ksdk_rerank.scores import Scores
from langchain_ksdk_rerank import RerankCompressor
from llamaindex_ksdk_rerank import RerankPostprocessor

CACHE = os.environ.get("KSDK_TEST_WEIGHTS", "")
MODEL = "cross-encoder/ms-marco-MiniLM-L-12-v2"
EXAMPLES = Path(__file__).parents[2] / "examples" / "knowledge_base"

pytestmark = pytest.mark.skipif(not CACHE, reason="KSDK_TEST_WEIGHTS is not set")


def pairs() -> dict[str, list[str]]:
    """Six questions with ten documents each: pages, odd texts, other scripts, and more than the model reads."""
    lines = (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [str(json.loads(line)["question"]) for line in lines[:6]]
    pages = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.md"))]
    odd = [
        "a",
        "?!",
        "[CLS] key [SEP] key [SEP] [PAD] [MASK]",
        "Schlüssel werden jede Nacht erneuert, Köln übernimmt das.",
        "密钥每晚轮换一次。旧密钥再保留一周。",
        "\n".join(pages[:20]),  # some 3,000 tokens
    ]
    return {question: [*odd, *pages[4 * number : 4 * number + 4]] for number, question in enumerate(questions)}


def reranker(**options: Any) -> CrossEncoderReranker:
    return CrossEncoderReranker(MODEL, cache_folder=CACHE, local_files_only=True, **options)


def logits(model: CrossEncoderReranker) -> list[float]:
    scores: list[Scores] = [model.score(query, documents) for query, documents in pairs().items()]
    return [logit for one in scores for logit in one.raw]


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """What sentence-transformers says of the same files."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    snapshot = next(Path(CACHE).glob("models--*/snapshots/*"))
    model = CrossEncoder(str(snapshot), device="cpu", max_length=512)
    texts = [(query, document) for query, documents in pairs().items() for document in documents]
    return [float(logit) for logit in model.predict(texts, activation_fn=Identity(), show_progress_bar=False)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ksdk_rerank.engines.export import export

    folder = tmp_path_factory.mktemp("exported") / "model"
    report = export(MODEL, folder, cache_folder=CACHE, local_files_only=True)
    assert report.max_difference < 1e-4
    return folder


@pytest.fixture(scope="module")
def modular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a modular model: its encoder, and its pooler and classifier as two Dense modules."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("modular")
    snapshot = next(Path(CACHE).glob("models--*/snapshots/*"))
    classifier = AutoModelForSequenceClassification.from_pretrained(snapshot)
    classifier.bert.save_pretrained(folder / "encoder")
    AutoTokenizer.from_pretrained(snapshot).save_pretrained(folder / "encoder")
    pooler, last = classifier.bert.pooler.dense, classifier.classifier
    head = [
        Dense(384, 384, activation_function=torch.nn.Tanh(), init_weight=pooler.weight, init_bias=pooler.bias),
        Dense(
            384,
            1,
            activation_function=torch.nn.Identity(),
            init_weight=last.weight,
            init_bias=last.bias,
            module_output_name="scores",
        ),
    ]
    modules = [Transformer(str(folder / "encoder")), Pooling(384, "cls"), *head]
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def modular_export(modular: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ksdk_rerank.engines.export import export

    return export(str(modular), tmp_path_factory.mktemp("exported") / "modular").folder


def test_a_modular_model_of_the_same_weights_gives_the_same_logits(
    expected: list[float], modular: Path, modular_export: Path
) -> None:
    with CrossEncoderReranker(modular, backend="torch", device="cpu") as model:
        assert logits(model) == pytest.approx(expected, abs=1e-4)
    with CrossEncoderReranker(modular_export, backend="onnx", dtype="float32") as model:
        assert logits(model) == pytest.approx(expected, abs=1e-4)
    with CrossEncoderReranker(modular_export, backend="openvino", dtype="float32") as model:
        assert logits(model) == pytest.approx(expected, abs=1e-3)


def test_torch_gives_the_logits_of_sentence_transformers(expected: list[float]) -> None:
    with reranker(backend="torch", device="cpu") as model:
        assert logits(model) == pytest.approx(expected, abs=1e-4)


def test_an_export_in_float32_gives_the_same_logits_without_torch(expected: list[float], exported: Path) -> None:
    with CrossEncoderReranker(exported, backend="onnx", dtype="float32") as model:
        assert logits(model) == pytest.approx(expected, abs=1e-4)
    with CrossEncoderReranker(exported, backend="openvino", dtype="float32") as model:
        assert logits(model) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("folder", [None, "exported", "modular_export"])
def test_int8_stays_close_to_float32_and_keeps_the_best_document(
    request: pytest.FixtureRequest, expected: list[float], folder: str | None
) -> None:
    exported = None if folder is None else request.getfixturevalue(folder)
    model = reranker(dtype="int8") if exported is None else CrossEncoderReranker(exported, dtype="int8")
    with model:
        assert model.engine == "onnx"
        found = logits(model)
    assert found == pytest.approx(expected, abs=1.5)  # of a range of 20; other scripts are the furthest off
    mean = sum(abs(a - b) for a, b in zip(found, expected, strict=True)) / len(found)
    assert mean < 0.4
    for start in range(0, len(found), 10):
        assert max(range(10), key=lambda i: found[start + i]) == max(range(10), key=lambda i: expected[start + i])


@pytest.mark.parametrize("folder", ["exported", "modular_export"])
def test_our_own_int8_stays_within_a_third_of_a_logit_and_does_not_depend_on_the_batch(
    request: pytest.FixtureRequest, expected: list[float], folder: str
) -> None:
    with CrossEncoderReranker(request.getfixturevalue(folder), dtype="int8") as model:
        found = logits(model)
        question, documents = next(iter(pairs().items()))
        alone = [model.score(question, [document]).raw[0] for document in documents]
    assert found[: len(alone)] == pytest.approx(alone, abs=0.01)
    differences = [abs(a - b) for a, b in zip(found, expected, strict=True)]
    assert max(differences) < 0.33
    assert sum(differences) / len(differences) < 0.08


def test_the_answer_comes_first_through_both_adapters(exported: Path) -> None:
    question = "How long does the old key work after a rotation?"
    texts = [
        "Rotate the tyres of a car every ten thousand kilometres.",
        "A key that was not rotated for a year is reported on the security page.",
        "After a rotation the previous key is accepted for another 24 hours, then it is refused.",
        "This page is not about the rotation of keys.",
    ]
    model = CrossEncoderReranker(exported)
    documents = [Document(page_content=text, id=str(number)) for number, text in enumerate(texts)]
    assert RerankCompressor(model, top_n=1).compress_documents(documents, question)[0].id == "2"
    nodes = [NodeWithScore(node=TextNode(id_=str(number), text=text)) for number, text in enumerate(texts)]
    assert RerankPostprocessor(reranker=model, top_n=1).postprocess_nodes(nodes, query_str=question)[0].node_id == "2"


def test_it_gets_26_of_the_40_obvious_pairs_right_as_the_embedded_models_card_says(exported: Path) -> None:
    sanity = Path(__file__).parents[1] / "models" / "sanity_pairs.json"
    with CrossEncoderReranker(exported, backend="onnx", dtype="float32") as model:
        right = 0
        for pair in json.loads(sanity.read_text(encoding="utf-8")):
            better, worse = model.score(pair["query"], [pair["better"], pair["worse"]]).raw
            right += better > worse
    assert right == 26


@pytest.fixture
def long_documents(exported: Path) -> Iterator[LongDocuments]:
    with LongDocuments(CrossEncoderReranker(exported)) as wrapped:
        yield wrapped


def test_an_answer_at_the_end_of_a_long_document_is_found(
    long_documents: LongDocuments, call: Callable[..., Any]
) -> None:
    filler = "Dashboards show how many events came in during the last hour. " * 80
    answer = "After a rotation the previous key is accepted for another 24 hours."
    ranking = call(long_documents.rank, "How long does the old key work after a rotation?", [filler, filler + answer])
    assert ranking[0].index == 1
    assert answer in ranking[0].document[slice(*ranking[0].span)]
