"""The hub is a real server on this machine. huggingface_hub reads its address when imported: each call is a process."""

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

from ksdk_rerank.engines.engine import Settings
from ksdk_rerank.engines.files import locate
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


@pytest.fixture
def hub(tiny_bert: str) -> Iterator[Hub]:
    with Hub(tiny_bert) as hub:
        yield hub


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a model in a process of its own whose hub is at `endpoint`."""

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


def test_a_model_comes_from_the_hub_and_then_from_the_cache(
    hub: Hub, load: Load, tmp_path: Path, tiny_bert: str
) -> None:
    expected = CrossEncoderReranker(tiny_bert, backend="onnx").score("the key", ["key", "invoice"]).raw
    first = load(hub.url, backend="onnx", cache_folder=str(tmp_path / "cache"))
    assert first["scores"] == pytest.approx(expected)
    files = ("tokenizer.json", "tokenizer_config.json", "onnx/model.onnx")
    assert hub.asked("GET") == {"main/config.json", *(f"{COMMIT}/{name}" for name in files)}
    hub.requests.clear()
    again = load(hub.url, backend="onnx", cache_folder=str(tmp_path / "cache"))
    assert again["scores"] == first["scores"]
    assert hub.asked("HEAD", "GET") == {"main/config.json"}  # only whether the branch has moved
    hub.stop()
    for arguments in ({"local_files_only": True}, {}):  # asked for, and forced by the silent hub
        offline = load("http://127.0.0.1:9", backend="onnx", cache_folder=str(tmp_path / "cache"), **arguments)
        assert offline["scores"] == first["scores"]
    missing = load("http://127.0.0.1:9", local_files_only=True)  # in the hub's own cache there is nothing
    assert missing["error"] == "ModelNotFound"
    assert "not in the cache, and local_files_only is set" in str(missing["message"])


def test_a_revision_is_fetched_by_name_and_a_commit_is_asked_for_once(hub: Hub, load: Load) -> None:
    load(hub.url, backend="onnx", revision="v1")
    assert f"{TAGGED}/onnx/model.onnx" in hub.asked("GET")
    hub.requests.clear()
    assert "scores" in load(hub.url, backend="onnx", revision=TAGGED)
    assert hub.asked("HEAD", "GET") == set()


def test_torch_loads_the_same_repository(hub: Hub, load: Load, tiny_bert: str) -> None:
    pytest.importorskip("sentence_transformers")
    expected = CrossEncoderReranker(tiny_bert, backend="onnx").score("the key", ["key", "invoice"]).raw
    assert load(hub.url, backend="torch")["scores"] == pytest.approx(expected, abs=1e-4)
    hub.stop()
    assert load("http://127.0.0.1:9", backend="torch")["scores"] == pytest.approx(expected, abs=1e-4)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "tiny/missing"}, "the hub has no model tiny/missing"),
        ({"model": "tiny/gated"}, "tiny/gated is gated: accept its terms"),
        ({"revision": "v2"}, "the hub has no tiny/reranker at revision 'v2'"),
    ],
    ids=["missing", "gated", "revision"],
)
def test_what_the_hub_refuses_is_said_with_ways_out(
    hub: Hub, load: Load, arguments: dict[str, object], message: str
) -> None:
    answer = load(hub.url, **arguments)
    assert answer["error"] == "ModelNotFound"
    assert message in str(answer["message"])
    assert all(way in str(answer["message"]) for way in WAYS_OUT)


def test_without_a_network_the_error_comes_within_seconds_and_says_what_to_do(load: Load) -> None:
    answer = load("http://127.0.0.1:9")
    assert answer["error"] == "HubUnreachable"
    assert "config.json of tiny/reranker could not be fetched (Connect" in str(answer["message"])
    assert all(way in str(answer["message"]) for way in WAYS_OUT)
    assert float(str(answer["seconds"])) < 20  # its own attempts would take half a minute, on an idle machine


def test_a_file_that_the_hub_withholds_is_an_error_and_not_another_file(hub: Hub, load: Load) -> None:
    answer = hub.answer

    def withhold(request: Request) -> Reply:
        return Reply.error(403, "no") if request.path.endswith("_int8.onnx") else answer(request)

    hub.answer = withhold  # type: ignore[method-assign]
    got = load(hub.url, backend="onnx", dtype="int8")
    assert got["error"] == "ModelNotFound"
    assert "onnx/model_int8.onnx of tiny/reranker could not be fetched" in str(got["message"])


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "C:\\models\\x"])
def test_a_path_without_a_folder_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"there is no folder .*load_reranker\('embedded'\)"):
        locate(Settings(name))


def test_a_folder_without_a_config_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"holds no config\.json"):
        locate(Settings(str(tmp_path)))
