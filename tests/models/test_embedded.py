"""The bundled model gives the scores of its float32 original on every engine, and its files are those we measured.

`python -m training` writes the golden scores for the pairs in `embedded_pairs.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import ksdk_rerank
from ksdk_rerank import CrossEncoderReranker, load_reranker
from ksdk_rerank.engines.engine import Backend
from ksdk_rerank.errors import UnsupportedModel

pytest.importorskip("onnxruntime")

FOLDER = Path(ksdk_rerank.__file__).parent / "models" / "embedded"
GOLDEN = json.loads(Path(__file__).with_name("embedded_golden.json").read_text(encoding="utf-8"))
SHA256 = {
    "config.json": "1adb902393a44c91486ac013b57f3d3b4fe929bf1fbbe75d5109d4930499c08a",
    "tokenizer.json": "b2899e2f043cf1c373bcf78455598ac5f559edb8e3115c994ddb620d8d3c46cd",
    "onnx/model.onnx": "6fc46c61f578fb26af5d6507885b636511848b3b4d537e118d56733474260032",
    "onnx/model.onnx_data": "f1e45113e5eb48448e47ce1c090c3b38d568094067b14299554095481f718d14",
    "onnx/model_qint7.onnx": "617948cdc4ffb95a2219a77936ab89be5eb885a1f3d52175a7b60aad4638bf91",
}
TOLERANCE = {
    ("onnx", "float32"): 0.001,
    ("onnx", "int8"): 0.1,
    ("openvino", "float32"): 0.001,
    ("openvino", "auto"): 0.05,
}
"""In logits, by engine and dtype; the pairs score between -6.0 and 1.0. The weights are always int8, as in training."""


@pytest.fixture(params=TOLERANCE, ids="-".join, scope="module")
def measured(request: pytest.FixtureRequest) -> Iterator[tuple[CrossEncoderReranker, float]]:
    backend, dtype = request.param
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    with CrossEncoderReranker("embedded", backend=backend, dtype=dtype) as reranker:
        yield reranker, TOLERANCE[request.param]


@pytest.mark.parametrize("name", SHA256)
def test_the_files_are_those_that_were_measured(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == SHA256[name]


def test_the_model_is_at_most_24_megabytes_and_nothing_lies_beside_it() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 24_000_000
    assert {str(path.relative_to(FOLDER)) for path in files} == {*SHA256, "MODEL_CARD.md"}


def test_there_are_twenty_golden_pairs() -> None:
    assert len({(pair["query"], pair["document"]) for pair in GOLDEN}) == 20


def test_every_engine_gives_the_scores_of_the_float32_original(measured: tuple[CrossEncoderReranker, float]) -> None:
    reranker, tolerance = measured
    for pair in GOLDEN:
        assert reranker.score(pair["query"], [pair["document"]]).raw[0] == pytest.approx(pair["logit"], abs=tolerance)


def test_a_score_does_not_depend_on_what_else_is_scored(measured: tuple[CrossEncoderReranker, float]) -> None:
    reranker, _ = measured
    documents = [pair["document"] for pair in GOLDEN]
    together = reranker.score("refund annual plan", documents).raw
    alone = [reranker.score("refund annual plan", [document]).raw[0] for document in documents]
    assert together == pytest.approx(alone, abs=0.01)


@pytest.mark.parametrize(("backend", "loads"), [("onnx", 2), ("openvino", 12)])
def test_it_scores_the_same_however_often_it_is_loaded(backend: Backend, loads: int) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    pair = GOLDEN[0]
    found = set()
    for _ in range(loads):
        with CrossEncoderReranker("embedded", backend=backend) as reranker:
            found.add(reranker.score(pair["query"], [pair["document"]]).raw[0])
    assert len(found) == 1


def test_it_goes_by_its_name() -> None:
    with load_reranker("embedded") as reranker:
        ranking = reranker.rank(GOLDEN[0]["query"], [GOLDEN[1]["document"], GOLDEN[0]["document"]])
        assert ranking.indices == (1, 0)
        assert ranking.reranked_by == reranker.name == "embedded"


@pytest.mark.parametrize("settings", [{"backend": "torch"}, {"dtype": "float16"}])
def test_settings_that_ask_for_torch_are_refused_by_name(settings: dict[str, str]) -> None:
    with pytest.raises(UnsupportedModel, match='"embedded" needs the "onnx" or "openvino" engine'):
        CrossEncoderReranker("embedded", **settings).rank("key", ["invoice"])  # type: ignore[arg-type]
