from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from tiny_models import MakeModel
from tokenizers import Tokenizer

from ksdk_rerank.engines import hardware, onnx_files
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.select import locate
from ksdk_rerank.errors import BadReply, MissingExtra, ModelError, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

QUERY = "how do i rotate an api key"

# From `BertForSequenceClassification` and `XLMRobertaForSequenceClassification` of transformers 5.23.0 on torch 2.13.0
# with the same weights; test_torch.py keeps them true.
GOLDEN = {
    "bert": {"how do i rotate a key": 1.531469, "invoice": 1.136464, "then revoke the key": 0.299321},
    "xlm-roberta": {"how do i rotate a key": 1.813476, "invoice": 0.745048, "then revoke the key": 2.089729},
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_logits_are_those_of_transformers(request: pytest.FixtureRequest, kind: str) -> None:
    reranker = CrossEncoderReranker(request.getfixturevalue("tiny_" + kind.replace("-", "_")), backend="onnx")
    ranking = reranker.rank(QUERY, list(GOLDEN[kind]))
    assert {ranked.document: ranked.raw_score for ranked in ranking} == pytest.approx(GOLDEN[kind], abs=1e-4)


def test_a_score_does_not_depend_on_the_other_documents(tiny_model: str, documents: list[str]) -> None:
    reranker = CrossEncoderReranker(tiny_model, backend="onnx")
    together = reranker.score(QUERY, documents).raw
    alone = [reranker.score(QUERY, [document]).raw[0] for document in documents]
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_equal_documents_get_equal_scores_and_one_without_tokens_gets_one(
    tiny_model: str, documents: list[str]
) -> None:
    ranking = CrossEncoderReranker(tiny_model).rank(QUERY, documents)
    scores = {ranked.index: ranked.raw_score for ranked in ranking}
    assert scores[37] == scores[38]
    assert scores[39] is not None


def test_cut_documents_are_counted_each_time_they_occur(tiny_bert: str) -> None:
    long = "the weather is nice " * 30
    assert CrossEncoderReranker(tiny_bert).rank(QUERY, [long, "key", long]).truncated == 2


def test_max_length_cuts_sooner(tiny_bert: str) -> None:
    document = "revoke the key and then create one"
    assert CrossEncoderReranker(tiny_bert).rank(QUERY, [document]).truncated == 0
    assert CrossEncoderReranker(tiny_bert, max_length=14).rank(QUERY, [document]).truncated == 1


def test_the_longest_input_fits_the_positions(tiny_model: str) -> None:
    ranking = CrossEncoderReranker(tiny_model, max_length=10_000).rank(QUERY, ["key " * 500])
    assert ranking[0].raw_score is not None


def test_weights_that_are_not_numbers_are_a_bad_reply(make_model: MakeModel) -> None:
    folder = make_model(nan=True)
    with pytest.raises(BadReply, match="not a finite number"):
        CrossEncoderReranker(str(folder)).rank(QUERY, ["invoice"])


def test_a_classifier_is_refused_before_its_weights_are_read(make_model: MakeModel) -> None:
    folder = make_model(labels=3)
    (folder / "onnx/model.onnx").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=rf"{folder} is a classifier with 3 labels"):
        CrossEncoderReranker(str(folder)).rank(QUERY, ["invoice"])


def test_weights_beside_the_graph_are_read(make_model: MakeModel, tiny_bert: str) -> None:
    folder = make_model()
    path = folder / "onnx/model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx_data", size_threshold=1024)
    assert (folder / "onnx/model.onnx_data").stat().st_size > path.stat().st_size
    expected = CrossEncoderReranker(tiny_bert).score(QUERY, ["invoice"]).raw
    assert CrossEncoderReranker(str(folder)).score(QUERY, ["invoice"]).raw == pytest.approx(expected, abs=1e-4)


def test_a_gpu_that_onnxruntime_cannot_use_is_an_error_and_not_the_cpu(tiny_bert: str) -> None:
    with pytest.raises(MissingExtra, match="pip install onnxruntime-gpu"):
        CrossEncoderReranker(tiny_bert, backend="onnx", device="cuda:0").rank(QUERY, ["invoice"])
    with pytest.raises(ModelError, match=r"not on 'mps'; pass backend=\"torch\""):
        CrossEncoderReranker(tiny_bert, backend="onnx", device="mps").rank(QUERY, ["invoice"])


@pytest.fixture
def quantized(make_model: MakeModel) -> str:
    """The folder of a model that has an int8 file beside the original."""
    folder = make_model()
    quantize_dynamic(
        folder / "onnx/model.onnx",
        folder / "onnx/model_qint7.onnx",
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    return str(folder)


def test_int8_scores_are_close_to_fp32_scores(quantized: str, documents: list[str]) -> None:
    fp32 = CrossEncoderReranker(quantized, dtype="float32").score(QUERY, documents).raw
    int8 = CrossEncoderReranker(quantized, dtype="int8").score(QUERY, documents).raw
    assert fp32 != int8
    assert np.corrcoef(fp32, int8)[0, 1] > 0.98


def test_an_int8_score_is_the_same_whatever_else_is_scored(quantized: str, documents: list[str]) -> None:
    reranker = CrossEncoderReranker(quantized, dtype="int8")
    together = reranker.score(QUERY, documents).raw
    assert [reranker.score(QUERY, [document]).raw[0] for document in documents] == together


def test_where_ranges_are_known_documents_share_batches_and_a_score_is_still_their_own(
    make_model: MakeModel, documents: list[str]
) -> None:
    folder = make_model()
    path = folder / "onnx/model.onnx"
    encoded = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(QUERY, "revoke the key")
    fields = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask, "token_type_ids": encoded.type_ids}
    wanted = {node.name for node in onnx.load(path).graph.input}
    pair = {name: np.array([field], np.int64) for name, field in fields.items() if name in wanted}
    seen = iter([pair])
    quantize_static(
        path,
        folder / "onnx/model_qint7.onnx",
        SimpleNamespace(get_next=lambda: next(seen, None)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
    )
    reranker = CrossEncoderReranker(str(folder), backend="onnx", dtype="int8")
    together = reranker.score(QUERY, documents).raw
    assert reranker._runner().model().engine.budget > 1
    alone = [reranker.score(QUERY, [document]).raw[0] for document in documents]
    np.testing.assert_allclose(together, alone, atol=1e-4)


def write_graph(path: Path, *, int8: bool) -> None:
    """A graph that calculates in what is asked for, and is no model."""
    operator = "DynamicQuantizeLinear" if int8 else "Identity"
    weights = np.ones(2, np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x"], ["y"])], "g", [], [], [onnx.numpy_helper.from_array(weights, "x")]
    )
    path.parent.mkdir(exist_ok=True)
    onnx.save(onnx.helper.make_model(graph), path)


@pytest.fixture
def offer(tmp_path: Path) -> Callable[..., str | None]:
    """Which file `find_model` takes on a processor from a model that offers `names`."""

    def offer(
        monkeypatch: pytest.MonkeyPatch, kind: str, *names: str, backend: str = "onnx", **settings: object
    ) -> str | None:
        for name in ("config.json", "tokenizer.json"):
            (tmp_path / name).touch()
        for name in names:
            write_graph(tmp_path / name, int8="int" in name)
        monkeypatch.setattr(onnx_files, "int8_kind", lambda: kind)
        wanted = ModelSettings(str(tmp_path), **settings)  # type: ignore[arg-type]
        return onnx_files.find_model(locate(wanted), wanted, backend)

    return offer


OFFICIAL = (
    "onnx/model.onnx",
    "onnx/model_qint8_arm64.onnx",
    "onnx/model_qint8_avx512.onnx",
    "onnx/model_qint8_avx512_vnni.onnx",
    "onnx/model_quint8_avx2.onnx",
)
OURS = ("onnx/model.onnx", "onnx/model_qint7.onnx", "onnx/model_int8.onnx")
EIGHT_BITS = ("onnx/model.onnx", "onnx/model_int8.onnx")


@pytest.mark.parametrize(
    ("kind", "dtype", "names", "expected"),
    [
        ("vnni", "auto", OFFICIAL, "onnx/model_qint8_avx512_vnni.onnx"),
        ("arm", "auto", OFFICIAL, "onnx/model_qint8_arm64.onnx"),
        ("other", "auto", OFFICIAL, "onnx/model_quint8_avx2.onnx"),
        ("other", "int8", OFFICIAL, "onnx/model_quint8_avx2.onnx"),
        ("vnni", "float32", OFFICIAL, "onnx/model.onnx"),
        ("vnni", "auto", OURS, "onnx/model_qint7.onnx"),
        ("arm", "auto", OURS, "onnx/model_qint7.onnx"),
        ("other", "auto", OURS, "onnx/model_qint7.onnx"),
        ("vnni", "auto", EIGHT_BITS, "onnx/model_int8.onnx"),
        ("other", "auto", EIGHT_BITS, "onnx/model.onnx"),  # it may overflow there
        ("other", "int8", EIGHT_BITS, "onnx/model_int8.onnx"),
        ("vnni", "auto", ("onnx/model.onnx",), "onnx/model.onnx"),
        ("vnni", "int8", ("onnx/model.onnx",), None),
        ("vnni", "auto", ("model.onnx",), "model.onnx"),
        ("vnni", "auto", (), None),
    ],
)
def test_the_file_follows_from_the_processor_and_the_dtype(
    monkeypatch: pytest.MonkeyPatch,
    offer: Callable[..., str | None],
    kind: str,
    dtype: str,
    names: tuple[str, ...],
    expected: str | None,
) -> None:
    assert offer(monkeypatch, kind, *names, dtype=dtype) == expected


def test_openvino_takes_the_fp32_file(monkeypatch: pytest.MonkeyPatch, offer: Callable[..., str | None]) -> None:
    assert offer(monkeypatch, "vnni", *OFFICIAL, backend="openvino") == "onnx/model.onnx"


def test_auto_takes_no_int8_file_for_a_gpu(monkeypatch: pytest.MonkeyPatch, offer: Callable[..., str | None]) -> None:
    assert offer(monkeypatch, "vnni", *OFFICIAL, device="cuda") == "onnx/model.onnx"


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "expected"),
    [
        ("x86_64", "flags : fpu avx512_vnni", "vnni"),
        ("x86_64", "flags : fpu avx_vnni", "vnni"),
        ("x86_64", "flags : fpu avx2", "other"),
        ("AMD64", None, "other"),
        ("arm64", None, "arm"),
        ("aarch64", "Features : fp asimd", "arm"),
    ],
)
def test_the_processor_is_known_by_its_flags(
    monkeypatch: pytest.MonkeyPatch, architecture: str, cpuinfo: str | None, expected: str
) -> None:
    def read_text(path: Path, **options: object) -> str:
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(platform, "machine", lambda: architecture)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert hardware.int8_kind() == expected
