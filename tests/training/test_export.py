"""The packed graphs score as torch does: `model.onnx` exactly, `model_qint7.onnx` closely."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")

from training.bert import Rounded  # noqa: E402 - these need torch
from training.int8 import round_matrices, smooth  # noqa: E402
from training.network import Comparison, CrossEncoder, Encoder, Head  # noqa: E402
from training.pack import INPUTS, pack  # noqa: E402
from training.splade import Splade  # noqa: E402
from training.states import join  # noqa: E402
from training.unpack import unpack  # noqa: E402
from training.validate import judge  # noqa: E402

VOCABULARY = {f"w{number}": number for number in range(60)} | {"[PAD]": 60, "[CLS]": 61, "[SEP]": 62, "[UNK]": 63}
CLS, SEP = 61, 62
PAIRS = [
    ([CLS, 5, 6, SEP], [CLS, *range(10, 50), *range(10, 50), SEP]),
    ([CLS, 5, 6, SEP], [CLS, 6, 8, SEP]),
    ([CLS, 7, 11, 12, 13, SEP], [CLS, *range(20, 40), 13, SEP]),
]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[CrossEncoder, Path]:
    torch.manual_seed(0)
    model = CrossEncoder(Encoder(64, layers=2), Head(), Comparison(), Splade(64, layers=2, expansions=40), cls=CLS)
    model.encoder.words = Rounded.of(torch.randn(64, 384))
    model.splade.words = Rounded.of(torch.randn(64, 128))
    torch.nn.init.normal_(model.comparison.score.weight)
    model.requires_grad_(False)
    for parameter in model.parameters():  # as after training: a graph stores numbers that are alike once
        parameter.add_(0.001 * torch.randn_like(parameter))
    model.splade.look_among([PAIRS[0][0]])
    model = smooth(model, PAIRS)
    model.calibration.copy_(torch.tensor([0.25, -7.0]))
    round_matrices(model)
    out = tmp_path_factory.mktemp("packed")
    pack(model, make_tokenizer(), PAIRS, out)
    return model, out


def make_tokenizer() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return tokenizer


def batch(*pairs: tuple[list[int], list[int]]) -> list[np.ndarray]:
    rows = [join(*pair) for pair in pairs]
    width = max(row[0].shape[1] for row in rows)
    return [
        np.concatenate([np.pad(one, ((0, 0), (0, width - one.shape[1]))) for one in field])
        for field in zip(*rows, strict=True)
    ]


def run(path: Path, *pairs: tuple[list[int], list[int]]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(INPUTS, batch(*pairs), strict=True)))[0][:, 0]


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[:2], PAIRS[2:]], ids=["two queries", "one query", "one pair"])
def test_the_float32_graph_scores_as_torch_does(
    packed: tuple[CrossEncoder, Path], pairs: list[tuple[list[int], list[int]]]
) -> None:
    model, out = packed
    expected = model(*map(torch.from_numpy, batch(*pairs)))[:, 0].numpy()
    np.testing.assert_allclose(run(out / "fp32/onnx/model.onnx", *pairs), expected, rtol=1e-4, atol=1e-4)


def test_the_shipped_graph_has_the_same_weights(packed: tuple[CrossEncoder, Path]) -> None:
    """They were rounded before. onnxruntime calculates less exactly with them, so its scores say it only roughly."""
    _, out = packed
    original = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in matrices(out / "fp32/onnx/model.onnx")}
    quantized = onnx.load(out / "fp32/onnx/model_qint7.onnx").graph
    parts = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in quantized.initializer}
    rounded = [name for name in original if f"{name}_quantized" in parts]
    assert len(rounded) == 2 * 4 + 2 * 4 + 3 + 1  # layers of the encoder and of SPLADE, the comparison's, expansions
    for name in rounded:
        back = parts[f"{name}_quantized"].astype(np.float32) * parts[f"{name}_scale"]
        np.testing.assert_allclose(back, original[name], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        run(out / "onnx/model.onnx", *PAIRS), run(out / "fp32/onnx/model.onnx", *PAIRS), rtol=0.02, atol=0.05
    )


def matrices(path: Path) -> list[onnx.TensorProto]:
    return [tensor for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 2]


def test_the_int8_graph_scores_closely_and_each_pair_by_itself(packed: tuple[CrossEncoder, Path]) -> None:
    _, out = packed
    together = run(out / "onnx/model_qint7.onnx", *PAIRS)
    np.testing.assert_allclose(together, run(out / "fp32/onnx/model.onnx", *PAIRS), rtol=0.03, atol=0.1)
    alone = [run(out / "onnx/model_qint7.onnx", pair)[0] for pair in PAIRS]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_what_query_and_document_are_both_read_by_is_stored_once(packed: tuple[CrossEncoder, Path]) -> None:
    _, out = packed
    stored = sum((out / "onnx" / name).stat().st_size for name in ("model.onnx", "model_qint7.onnx", "model.onnx_data"))
    assert stored < 0.35 * (out / "fp32/onnx/model.onnx").stat().st_size


def test_a_packed_network_can_be_unpacked_to_go_on_from_it(packed: tuple[CrossEncoder, Path]) -> None:
    model, out = packed
    other = copy.deepcopy(model)
    for tensor in other.state_dict().values():
        tensor.zero_()
    found = unpack(out, other, make_tokenizer(), PAIRS[0])
    assert found.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-5, atol=1e-7, err_msg=name)
        assert found[name].dtype == tensor.dtype


def test_another_network_is_not_unpacked(packed: tuple[CrossEncoder, Path]) -> None:
    model, out = packed
    smaller = copy.deepcopy(model)
    smaller.encoder.thin(1)
    with pytest.raises(ValueError, match="has not the nodes of this network"):
        unpack(out, smaller, make_tokenizer(), PAIRS[0])


def test_a_calibration_that_was_unpacked_does_not_count_when_another_is_fitted(
    packed: tuple[CrossEncoder, Path],
) -> None:
    model, _ = packed
    judged = SimpleNamespace(tasks=[SimpleNamespace(query=0)], candidates=[np.array([0, 1])])
    queries, passages = SimpleNamespace(ids=[PAIRS[0][0]]), SimpleNamespace(ids=[pair[1] for pair in PAIRS])
    plain = copy.deepcopy(model)
    plain.calibration.copy_(torch.tensor([1.0, 0.0]))
    (found,), (expected,) = (judge(judged, one, queries, passages) for one in (model, plain))
    np.testing.assert_allclose(found, expected)
