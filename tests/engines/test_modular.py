"""Modular cross-encoders: sentence-transformers' own logits on every engine, and all that is built on a reranker."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ksdk_rerank import CrossEncoderReranker, Reranker
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.files import Folder
from ksdk_rerank.engines.select import load
from ksdk_rerank.errors import ModelError, UnsupportedModel
from ksdk_rerank.testing.contract import SubclassContract

pytest.importorskip("sentence_transformers", "5.4")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

from tiny_modular import (  # noqa: E402
    DOCUMENTS,
    HIDDEN,
    QUERIES,
    expected_logits,
    save_encoder_as_onnx,
    save_modular,
)


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars() -> Iterator[None]:
    """None from the libraries that build and load the models that ours is compared with."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def expected(tiny_modular: Path) -> list[float]:
    return expected_logits(tiny_modular)


@pytest.fixture(scope="module")
def exported(tiny_modular: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `export` makes of it: the head is in the graph."""
    pytest.importorskip("onnxscript")
    from ksdk_rerank.engines.export import export

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = export(str(tiny_modular), tmp_path_factory.mktemp("exported") / "model")
    assert report.max_difference < 1e-4
    return report.folder


@pytest.fixture(scope="module")
def with_encoder(tiny_modular: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose ONNX file holds the encoder only."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("repository") / "model"
    shutil.copytree(tiny_modular, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_encoder_as_onnx(folder)
    return folder


def logits(reranker: CrossEncoderReranker) -> list[float]:
    return [logit for query in QUERIES for logit in reranker.score(query, DOCUMENTS).raw]


def test_torch_gives_the_logits_of_sentence_transformers(tiny_modular: Path, expected: list[float]) -> None:
    with CrossEncoderReranker(tiny_modular, backend="torch", device="cpu") as reranker:
        assert logits(reranker) == pytest.approx(expected, abs=1e-4)
        assert reranker.rank(QUERIES[0], DOCUMENTS).truncated == 1


def test_all_modules_run_in_the_dtype_that_is_asked_for(tiny_modular: Path, expected: list[float]) -> None:
    with CrossEncoderReranker(tiny_modular, backend="torch", device="cpu", dtype="bfloat16") as reranker:
        found = logits(reranker)
    assert found != pytest.approx(expected, abs=1e-4)
    assert np.corrcoef(found, expected)[0, 1] > 0.99


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("folder", ["exported", "with_encoder"])
def test_files_without_torch_give_the_same_logits(
    request: pytest.FixtureRequest, expected: list[float], folder: str, backend: Any
) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    model = request.getfixturevalue(folder)
    with CrossEncoderReranker(model, backend=backend, dtype="float32") as reranker:
        assert reranker.engine == backend
        assert logits(reranker) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("folder", "backend"), [("tiny_modular", "torch"), ("exported", "onnx")])
def test_a_logit_does_not_depend_on_the_padding_of_its_batch(
    request: pytest.FixtureRequest, folder: str, backend: Any
) -> None:
    folder = str(request.getfixturevalue(folder))
    model = load(ModelSettings(folder, backend=backend, device="cpu", dtype="float32"))
    pairs = model.encoder.encode(QUERIES[0], DOCUMENTS).pairs
    alone = [float(model.forward([pair])[0]) for pair in pairs]
    assert list(model.forward(pairs)) == pytest.approx(alone, abs=1e-5)


def test_max_length_reaches_a_window_of_8192_tokens(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    folder = save_modular(tmp_path / "model", positions=8192)
    document = "The old key still works for another 24 hours. " * 400  # some 4,000 tokens
    model = CrossEncoder(str(folder), device="cpu")
    wanted = model.predict([(QUERIES[0], document)], activation_fn=Identity(), show_progress_bar=False)
    with CrossEncoderReranker(folder, backend="torch", device="cpu", max_length=8192) as reranker:
        scores = reranker.score(QUERIES[0], [document])
        assert scores.raw == pytest.approx(list(wanted), abs=1e-4)
        assert reranker.count_tokens([document])[0] > 3500
        assert reranker.rank(QUERIES[0], [document]).truncated == 0
        assert 8192 - reranker.document_room(QUERIES[0]) < 20
    with CrossEncoderReranker(folder, backend="torch", device="cpu") as reranker:
        assert reranker.rank(QUERIES[0], [document]).truncated == 1


class TestContract(SubclassContract):
    @pytest.fixture
    def reranker(self, tiny_modular: Path) -> Iterator[Reranker]:
        with CrossEncoderReranker(tiny_modular, backend="torch", device="cpu") as reranker:
            yield reranker


class TestContractOfAnExport(SubclassContract):
    @pytest.fixture
    def reranker(self, exported: Path) -> Iterator[Reranker]:
        with CrossEncoderReranker(exported, backend="onnx") as reranker:
            yield reranker


def test_an_old_sentence_transformers_is_told_with_the_version_that_is_needed(
    tiny_modular: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentence_transformers.__version__", "5.3.0")
    needed = r"modular cross-encoder, which needs sentence-transformers 5\.4 .* 5\.3\.0 is installed.*pip install"
    with pytest.raises(UnsupportedModel, match=needed):
        CrossEncoderReranker(tiny_modular, backend="torch").rank("key", ["key"])


def test_a_damaged_file_of_a_module_is_named(tiny_modular: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_modular, tmp_path / "model"))
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match=r"2_Dense.model\.safetensors is a git-lfs pointer"):
        CrossEncoderReranker(folder, backend="torch").rank("key", ["key"])


class TestHead:
    """`Head`, which runs in numpy, against the modules of sentence-transformers."""

    @pytest.fixture
    def batch(self) -> Batch:
        mask = np.array([[1] * 9, [1] * 4 + [0] * 5])
        return Batch(mask, mask, mask)

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    @pytest.mark.parametrize(
        ("pooling", "activation", "residual"),
        [("cls", "GELU", False), ("mean", "Tanh", True), ("cls", "SiLU", False), ("mean", "ReLU", False)],
    )
    def test_gives_the_scores_of_the_modules(
        self, tmp_path: Path, batch: Batch, pooling: str, activation: str, residual: bool, dtype: str
    ) -> None:
        import torch
        from safetensors.torch import load_file, save_file
        from sentence_transformers import CrossEncoder

        from ksdk_rerank.engines.onnx_head import Head

        folder = save_modular(tmp_path / "model", pooling=pooling, activation=activation, residual=residual)
        for path in folder.glob("*/*.safetensors"):
            weights = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(path).items()}
            save_file(weights, path, metadata={"format": "pt"})
        hidden = torch.randn((2, 9, HIDDEN), generator=torch.Generator().manual_seed(1))
        features: Any = {"token_embeddings": hidden, "attention_mask": torch.from_numpy(batch.mask)}
        with torch.inference_mode():
            for module in list(CrossEncoder(str(folder), device="cpu").float())[1:]:
                features = module(features)
        found = Head(Folder(folder), "m")(hidden.numpy(), batch)
        np.testing.assert_allclose(found, features["scores"].numpy(), atol=1e-5)

    @pytest.mark.parametrize(
        ("file", "field", "value", "said"),
        [
            ("1_Pooling", "pooling_mode", "lasttoken", "lasttoken"),
            ("2_Dense", "activation_function", "torch.nn.modules.activation.Mish", "Mish"),
            ("2_Dense", "module_input_name", "token_embeddings", "token_embeddings"),
        ],
    )
    def test_refuses_what_it_does_not_know_and_says_where_it_runs(
        self, with_encoder: Path, tmp_path: Path, file: str, field: str, value: str, said: str
    ) -> None:
        folder = Path(shutil.copytree(with_encoder, tmp_path / "model"))
        path = folder / file / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
        with pytest.raises(UnsupportedModel, match=rf"holds only the encoder.*{said}.*backend=\"torch\".*export"):
            CrossEncoderReranker(folder, backend="onnx").rank("key", ["key"])

    def test_names_weights_that_are_missing_or_damaged(self, with_encoder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(with_encoder, tmp_path / "model"))
        weights = folder / "4_Dense" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4])
        with pytest.raises(ModelError, match=r"4_Dense.model\.safetensors is not a safetensors file of floats"):
            CrossEncoderReranker(folder, backend="onnx").rank("key", ["key"])
        weights.unlink()
        with pytest.raises(UnsupportedModel, match=r"Dense, 'linear\.weight' is unknown or missing"):
            CrossEncoderReranker(folder, backend="onnx").rank("key", ["key"])


def test_an_encoders_graph_without_the_head_beside_it_is_told(with_encoder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(with_encoder, tmp_path / "model"))
    (folder / "modules.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None, "num_labels": 1}))
    for backend in ("onnx", "openvino"):
        pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
        with pytest.raises(UnsupportedModel, match=r"outputs a vector for each token, not a logit.*export"):
            CrossEncoderReranker(folder, backend=backend).rank("key", ["key"])
