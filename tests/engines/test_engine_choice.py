from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from onnxruntime.quantization import quantize_dynamic
from tiny_models import MakeModel

from ksdk_rerank.engines import hardware, select
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.select import locate
from ksdk_rerank.errors import MissingExtra, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that packages are not installed."""

    def without(*missing: str) -> None:
        monkeypatch.setattr(select, "find_spec", lambda name: None if name in missing else find_spec(name))

    return without


def test_onnx_is_taken_where_the_model_offers_a_file(tiny_bert: str, without: Callable[..., None]) -> None:
    without("openvino")
    assert CrossEncoderReranker(tiny_bert).engine == "onnx"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Pretend that torch can use a GPU, and that there is a driver for it or none."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("PATH", "")

    def gpu(*, driver: bool = True) -> None:
        monkeypatch.setattr(hardware, "_GPU_DRIVERS", (tmp_path if driver else tmp_path / "missing",))

    return gpu


@pytest.mark.parametrize("driver", [True, False])
def test_torch_comes_first_where_it_can_use_a_gpu(tiny_bert: str, gpu: Callable[..., None], driver: bool) -> None:
    gpu(driver=driver)
    settings = ModelSettings(tiny_bert)
    by_default = select._fastest_first(["onnx", "torch"], locate(settings), settings)
    on_the_cpu = select._fastest_first(["onnx", "torch"], locate(settings), ModelSettings(tiny_bert, device="cpu"))
    assert by_default == (["torch", "onnx"] if driver else ["onnx", "torch"])
    assert on_the_cpu == ["onnx", "torch"]


@pytest.mark.parametrize(("device", "wanted"), [(None, ["onnx", "torch"]), ("cuda", ["torch", "onnx"])])
def test_what_has_no_weights_for_torch_is_for_others_on_a_gpu_too(
    make_model: MakeModel, gpu: Callable[..., None], device: str | None, wanted: Any
) -> None:
    gpu()
    folder = make_model()
    (folder / "model.safetensors").unlink()
    settings = ModelSettings(str(folder), device=device)
    assert select._fastest_first(wanted, locate(settings), settings) == ["onnx"]


@pytest.mark.skipif(
    shutil.which("nvidia-smi") is not None or any(path.exists() for path in hardware._GPU_DRIVERS),
    reason="this machine has a driver for a GPU",
)
def test_without_a_gpu_torch_is_not_even_imported(tiny_bert: str) -> None:
    program = (
        "import sys; from ksdk_rerank import CrossEncoderReranker;"
        f" print(CrossEncoderReranker({tiny_bert!r}, dtype='float32').engine, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["onnx", "False"]


def test_without_any_engine_the_install_line_is_named(tiny_bert: str, without: Callable[..., None]) -> None:
    without("openvino", "onnxruntime", "sentence_transformers")
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[local\]"') as caught:
        CrossEncoderReranker(tiny_bert).rank("key", ["invoice"])
    assert caught.value.extra == "local"


def test_an_engine_that_was_asked_for_and_is_missing_is_named(tiny_bert: str, without: Callable[..., None]) -> None:
    without("sentence_transformers")
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[torch\]"'):
        CrossEncoderReranker(tiny_bert, backend="torch").rank("key", ["invoice"])


def test_a_model_that_only_torch_can_run_says_how_to_get_an_onnx_file(
    make_model: MakeModel, without: Callable[..., None]
) -> None:
    without("sentence_transformers")
    folder = make_model(onnx_file=None)
    with pytest.raises(
        UnsupportedModel, match=rf'has no ONNX file.*ksdk-rerank export {folder} FOLDER.*"ksdk-rerank\[torch\]"'
    ):
        CrossEncoderReranker(str(folder)).rank("key", ["invoice"])


def test_a_folder_with_nothing_but_int8_says_so_to_every_other_wish(make_model: MakeModel) -> None:
    folder = make_model()
    quantize_dynamic(folder / "onnx/model.onnx", folder / "onnx/model_qint7.onnx")
    (folder / "onnx/model.onnx").unlink()
    (folder / "model.safetensors").unlink()
    wishes: list[tuple[str, dict[str, Any]]] = [
        ("openvino", {"backend": "openvino"}),
        ("onnxruntime", {"backend": "onnx", "dtype": "float32"}),
        ("sentence_transformers", {"backend": "torch"}),
        ("sentence_transformers", {"dtype": "float16"}),
    ]
    assert CrossEncoderReranker(str(folder)).engine_file == "onnx/model_qint7.onnx"
    for package, wish in wishes:
        if find_spec(package):
            with pytest.raises(UnsupportedModel, match=r"onnx/model_qint7\.onnx.*; leave backend, device and dtype at"):
                CrossEncoderReranker(str(folder), **wish).rank("key", ["invoice"])


def test_where_only_torch_is_installed_such_a_folder_says_what_to_install(
    make_model: MakeModel, without: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers")
    from ksdk_rerank.engines import torch_files

    without("onnxruntime", "openvino")
    monkeypatch.setattr(torch_files, "find_spec", lambda name: None)
    folder = make_model()
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match=r'only onnx/model\.onnx; pip install "ksdk-rerank\[local\]", and leave'):
        CrossEncoderReranker(str(folder)).rank("key", ["invoice"])


def test_int8_is_never_replaced_by_another_type(tiny_bert: str) -> None:
    with pytest.raises(UnsupportedModel, match=r"uses floating point, which does not suit dtype='int8'; .* export"):
        CrossEncoderReranker(tiny_bert, dtype="int8").rank("key", ["invoice"])


ALL = ("onnx", "openvino", "torch")


@pytest.mark.parametrize(
    ("bfloat16", "settings", "expected"),
    [
        (True, {}, ALL),
        (False, {}, ("onnx", "torch")),
        (True, {"device": "cpu"}, ALL),
        (True, {"dtype": "float32"}, ("onnx", "torch")),
        (True, {"device": "cuda"}, ("torch", "onnx")),
        (True, {"device": "mps"}, ("torch", "onnx")),
        (True, {"device": "cuda", "dtype": "bfloat16"}, ("torch",)),
        (True, {"dtype": "int8"}, ("onnx",)),
        (True, {"dtype": "float16"}, ("torch",)),
        (True, {"dtype": "bfloat16"}, ("openvino", "torch")),
        (False, {"dtype": "bfloat16"}, ("torch",)),
        (True, {"trust_remote_code": True}, ("torch",)),
        (True, {"backend": "torch"}, ("torch",)),
        (False, {"backend": "openvino"}, ("openvino",)),
    ],
)
def test_the_engines_follow_from_the_settings_and_the_processor(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, settings: dict[str, object], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(select, "has_bfloat16", lambda: bfloat16)
    assert select._wanted(ModelSettings("m", **settings)) == expected  # type: ignore[arg-type]
