"""Files from a hub, which is a real server on this machine, and from its cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hub import COMMIT, TAGGED, Hub
from tiny_models import MakeModel

from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.select import locate
from ksdk_rerank.errors import ModelNotFound
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker
from ksdk_rerank.testing.local_server import Reply, Request

PROGRAM = """if True:
    import json, sys, time
    from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker
    reranker = CrossEncoderReranker(**json.loads(sys.argv[1]))
    start = time.monotonic()
    try:
        answer = {"scores": list(reranker.score("the key", ["key", "invoice"]).raw), "engine": reranker.engine}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps({**answer, "seconds": time.monotonic() - start}))
"""
WAYS_OUT = ("the model's folder", "HF_ENDPOINT", "local_files_only=True", "embedded")

Load = Callable[..., dict[str, object]]
At = Callable[..., ModelSettings]


@pytest.fixture
def hub(tiny_bert: str) -> Iterator[Hub]:
    with Hub(tiny_bert) as hub:
        yield hub


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a model in a process of its own, because huggingface_hub reads `HF_ENDPOINT` when it is imported."""

    def load(endpoint: str, model: str = "tiny/reranker", **arguments: object) -> dict[str, object]:
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps({"model": model, **arguments})],
            env=environment,
            timeout=120,
            capture_output=True,
            text=True,
            check=True,
        )
        answer: dict[str, object] = json.loads(done.stdout)
        assert "it/s" not in done.stderr  # no progress bars
        return answer

    return load


def scores(settings: ModelSettings) -> list[float]:
    """What a new reranker with these settings gives."""
    with CrossEncoderReranker(
        settings.model,
        backend="onnx",
        dtype=settings.dtype,
        revision=settings.revision,
        cache_folder=settings.cache_folder,
        local_files_only=settings.local_files_only,
    ) as reranker:
        return list(reranker.score("the key", ["key", "invoice"]).raw)


def test_a_model_comes_from_the_hub_and_then_from_the_cache(hub: Hub, at: At, tiny_bert: str) -> None:
    expected = CrossEncoderReranker(tiny_bert, backend="onnx").score("the key", ["key", "invoice"]).raw
    assert scores(at(hub.url)) == pytest.approx(expected)
    files = ("tokenizer.json", "tokenizer_config.json", "onnx/model.onnx")
    assert hub.asked("GET") == {"main/config.json", *(f"{COMMIT}/{name}" for name in files)}
    hub.requests.clear()
    assert scores(at(hub.url)) == expected
    assert hub.asked("HEAD", "GET") == {"main/config.json"}  # only whether the branch has moved
    hub.stop()
    assert scores(at("http://127.0.0.1:9", local_files_only=True)) == expected  # asked for
    assert scores(at("http://127.0.0.1:9")) == expected  # forced by the silent hub


def test_a_revision_is_fetched_by_name_and_a_commit_is_asked_for_once(hub: Hub, at: At) -> None:
    assert scores(at(hub.url, revision="v1"))
    assert f"{TAGGED}/onnx/model.onnx" in hub.asked("GET")
    hub.requests.clear()
    assert scores(at(hub.url, revision=TAGGED))
    assert hub.asked("HEAD", "GET") == set()


def test_the_hub_of_the_environment_and_its_own_cache_are_used_without_progress_bars(hub: Hub, load: Load) -> None:
    assert "scores" in load(hub.url, backend="onnx")
    assert "main/config.json" in hub.asked("GET")


def test_torch_loads_the_same_repository(hub: Hub, load: Load, tiny_bert: str) -> None:
    pytest.importorskip("sentence_transformers")
    expected = CrossEncoderReranker(tiny_bert, backend="onnx").score("the key", ["key", "invoice"]).raw
    assert load(hub.url, backend="torch")["scores"] == pytest.approx(expected, abs=1e-4)
    hub.stop()
    assert load("http://127.0.0.1:9", backend="torch")["scores"] == pytest.approx(expected, abs=1e-4)


def test_torch_loads_a_modular_repository_and_then_its_copy_in_the_cache(load: Load, tiny_modular: Path) -> None:
    expected = CrossEncoderReranker(tiny_modular, backend="torch").score("the key", ["key", "invoice"]).raw
    with Hub(str(tiny_modular)) as hub:
        assert load(hub.url, backend="torch").get("scores") == pytest.approx(expected, abs=1e-4)
    assert load("http://127.0.0.1:9", backend="torch").get("scores") == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason='needs pip install "ksdk-rerank[torch]"')
def test_weights_that_are_not_safetensors_are_loaded_and_nobody_is_asked_to_convert_them(
    make_model: MakeModel, load: Load, tiny_bert: str
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = make_model()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    expected = CrossEncoderReranker(tiny_bert, backend="onnx").score("the key", ["key", "invoice"]).raw
    with Hub(str(folder)) as hub:
        assert load(hub.url, backend="torch").get("scores") == pytest.approx(expected, abs=1e-4)
        # With it transformers begins what ends with a request to a converting service.
        assert "/api/models/tiny/reranker" not in [request.path for request in hub.requests]


def test_without_a_network_the_error_comes_within_seconds_and_says_what_to_do(load: Load) -> None:
    answer = load("http://127.0.0.1:9")
    assert answer["error"] == "HubUnreachable"
    assert "config.json of tiny/reranker could not be fetched (Connect" in str(answer["message"])
    assert all(way in str(answer["message"]) for way in WAYS_OUT)
    assert float(str(answer["seconds"])) < 20  # its own attempts would take half a minute, on an idle machine


def test_a_file_that_the_hub_withholds_is_an_error_and_not_another_file(hub: Hub, at: At) -> None:
    answer = hub.answer

    def withhold(request: Request) -> Reply:
        return Reply.error(403, "no") if request.path.endswith("_int8.onnx") else answer(request)

    hub.answer = withhold  # type: ignore[method-assign]
    with pytest.raises(ModelNotFound, match=r"onnx/model_int8\.onnx of tiny/reranker could not be fetched"):
        scores(at(hub.url, dtype="int8"))


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "C:\\models\\x"])
def test_a_path_without_a_folder_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"is neither a folder nor a valid hub id.*load_reranker\('embedded'\)"):
        locate(ModelSettings(name))


def test_a_folder_without_a_config_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        locate(ModelSettings(str(tmp_path)))
