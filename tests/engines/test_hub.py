"""What a hub, or the way to it, can answer when nothing is in the cache; and which of its ONNX files is taken."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hub import COMMIT, Hub
from huggingface_hub import constants

from ksdk_rerank import CrossEncoderReranker, Fallback
from ksdk_rerank.engines import hub as engines_hub
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.files import WAYS_OUT
from ksdk_rerank.engines.select import locate
from ksdk_rerank.errors import HubUnreachable, ModelNotFound, UnsupportedModel
from ksdk_rerank.testing.local_server import Fault, LocalServer, Reply, Request

PAGE = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>"


@pytest.fixture
def hub(tiny_bert: str, tmp_path: Path) -> Iterator[Hub]:
    """A hub with a folder that a test may change."""
    folder = tmp_path / "published"
    shutil.copytree(tiny_bert, folder)
    with Hub(str(folder)) as hub:
        yield hub


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=500), "500"),
        (Fault(status=503), "503"),
        (Fault(status=429, headers={"Retry-After": "1"}), "429"),
        (Fault(status=408), "408"),
        (Fault(status=407), "407"),
        (Fault(reset=True), "Error"),
        (Fault(cut_after="request"), "Error"),
        (Fault(body=PAGE, headers={"content-type": "text/html"}), "FileMetadataError"),
        (Fault(status=302, headers={"location": "/login"}), ""),
        (Fault(delay=5), "imeout|imed out"),
    ],
    ids=["500", "503", "429", "408", "407", "reset", "no reply", "portal", "redirects", "silence"],
)
def test_a_hub_that_gives_no_answer_of_its_own_is_unreachable(
    hub: Hub, at: Callable[..., ModelSettings], monkeypatch: pytest.MonkeyPatch, fault: Fault, message: str
) -> None:
    monkeypatch.setattr(engines_hub, "_HUB_TIMEOUT", 0.5)
    settings = at(hub.url)
    with (
        hub.failing(fault),
        pytest.raises(HubUnreachable, match=rf"(?i)could not be fetched \(.*({message})") as caught,
    ):
        locate(settings)
    assert "load_reranker('embedded')" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("tiny/missing", {}, "has no model tiny/missing"),
        ("tiny/gated", {}, "is gated"),
        ("tiny/reranker", {"revision": "v9"}, "has no tiny/reranker at revision 'v9'"),
        ("other/model", {}, "has no model other/model"),
        ("a..b", {}, "has no model a..b"),
    ],
)
def test_what_a_hub_says_of_a_model_is_final(
    hub: Hub, at: Callable[..., ModelSettings], model: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelNotFound, match=message) as caught:
        locate(at(hub.url, model, **settings))
    assert type(caught.value) is ModelNotFound
    assert str(caught.value).endswith(WAYS_OUT)


@pytest.mark.parametrize("status", [401, 403, 410, 451])
def test_a_refusal_is_final(at: Callable[..., ModelSettings], status: int) -> None:
    with LocalServer(lambda request: Reply.error(status, "no")) as server, pytest.raises(ModelNotFound) as caught:
        locate(at(server.url))
    assert type(caught.value) is ModelNotFound


def test_a_fallback_moves_on_when_the_hub_is_unreachable(
    at: Callable[..., ModelSettings], call: Callable[..., Any]
) -> None:
    settings = at("http://127.0.0.1:9")
    reranker = CrossEncoderReranker(settings.model, cache_folder=settings.cache_folder)
    ranking = call(Fallback([reranker, "input-order"]).rank, "the key", ["key", "invoice"])
    assert (ranking.reranked_by, ranking.failures[0].error) == ("input-order", "HubUnreachable")


def test_a_fallback_does_not_hide_a_model_that_there_is_not(
    hub: Hub, at: Callable[..., ModelSettings], call: Callable[..., Any]
) -> None:
    settings = at(hub.url, "tiny/missing")
    reranker = CrossEncoderReranker(settings.model, cache_folder=settings.cache_folder)
    with pytest.raises(ModelNotFound, match="has no model"):
        call(Fallback([reranker, "input-order"]).rank, "the key", ["key", "invoice"])


@pytest.mark.parametrize("name", ["tokenizer.json", "onnx/model.onnx"])
@pytest.mark.parametrize("fault", [Fault(status=503), Fault(cut_after=10)], ids=["503", "cut"])
def test_a_later_file_that_does_not_arrive_is_unreachable_too(
    hub: Hub, at: Callable[..., ModelSettings], capfd: pytest.CaptureFixture[str], name: str, fault: Fault
) -> None:
    files = locate(at(hub.url))
    hub.fault = fault
    with pytest.raises(HubUnreachable, match=rf"{name} of tiny/reranker could not be fetched"):
        files.find(name)
    capfd.readouterr()  # huggingface_hub tells of each attempt


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_what_is_missing_in_the_cache_is_unreachable_when_the_hub_is(
    hub: Hub, at: Callable[..., ModelSettings], backend: Any
) -> None:
    if backend == "torch" and find_spec("sentence_transformers") is None:
        pytest.skip("needs sentence-transformers")
    locate(at(hub.url))  # config.json is in the cache
    settings = at("http://127.0.0.1:9", backend=backend)
    reranker = CrossEncoderReranker(settings.model, cache_folder=settings.cache_folder, backend=backend)
    with pytest.raises(HubUnreachable, match=r"could not be fetched \(Connect"):
        reranker.rank("the key", ["key"])


def test_what_is_missing_because_only_the_cache_may_be_used_is_final(
    hub: Hub, at: Callable[..., ModelSettings]
) -> None:
    locate(at(hub.url))
    settings = at(hub.url, local_files_only=True)
    reranker = CrossEncoderReranker(
        settings.model, cache_folder=settings.cache_folder, backend="onnx", local_files_only=True
    )
    with pytest.raises(UnsupportedModel, match="in the cache"):
        reranker.rank("the key", ["key"])


@pytest.mark.parametrize("setting", ["HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE", "local_files_only"])
def test_offline_use_is_a_setting_and_so_final(
    at: Callable[..., ModelSettings], monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", setting != "local_files_only")
    with pytest.raises(ModelNotFound, match=f"not in the cache, and {setting} is set") as caught:
        locate(at("http://127.0.0.1:9", local_files_only=setting == "local_files_only"))
    assert type(caught.value) is ModelNotFound


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_hub(
    hub: Hub, at: Callable[..., ModelSettings], tmp_path: Path
) -> None:
    settings = at(hub.url)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelNotFound, match="check the cache folder") as caught:
        locate(settings)
    assert type(caught.value) is ModelNotFound


@pytest.mark.parametrize("token", ["hf_s3cret", "hf_s3cret\n", "hf_s3cret\nmore", "hf_s3cret\u00e9"])
@pytest.mark.parametrize("status", [401, 503])
def test_a_token_is_in_no_message_and_in_no_traceback(
    at: Callable[..., ModelSettings], token: str, status: int
) -> None:
    with LocalServer(lambda request: Reply.error(status, f"no {token.strip()!r}")) as server:
        with pytest.raises(ModelNotFound) as caught:
            locate(at(server.url, token=token))
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HTTP_PROXY": "http://alice:s3cret@127.0.0.1:9"}, "HTTP_PROXY=http://**********@127.0.0.1:9"),
        ({"HTTP_PROXY": "http://alice:s3cret/s3cret#s3cret@127.0.0.1:9"}, "HTTP_PROXY=http://**********@127.0.0.1:9"),
        ({"ALL_PROXY": "socks5://alice:s3cret@127.0.0.1:9"}, "ALL_PROXY=socks5://**********@127.0.0.1:9"),
        ({"http_proxy": "nonsense://127.0.0.1:9"}, "http_proxy=nonsense://127.0.0.1:9"),
        ({"HTTP_PROXY": "http://127.0.0.1:no-number"}, "HTTP_PROXY=http://127.0.0.1:no-number"),
        ({"HF_ENDPOINT": "127.0.0.1:9"}, "HF_ENDPOINT=127.0.0.1:9"),
        ({"HF_ENDPOINT": "https://alice:s3cret@127.0.0.1:9"}, "HF_ENDPOINT=https://**********@127.0.0.1:9"),
        (  # the names that httpx and requests know it by
            {"HF_ENDPOINT": "https://127.0.0.1:9", "SSL_CERT_FILE": "/no/file", "REQUESTS_CA_BUNDLE": "/no/file"},
            "SSL_CERT_FILE=/no/file",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
@pytest.mark.filterwarnings("ignore")
def test_variables_that_stand_in_the_way_are_named_without_their_passwords(
    at: Callable[..., ModelSettings],
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in {"NO_PROXY": "", "no_proxy": "", **variables}.items():
        monkeypatch.setenv(name, value)
    settings = at(variables.get("HF_ENDPOINT", "http://127.0.0.1:9"))
    with pytest.raises(HubUnreachable) as caught:
        reranker_of(settings).rank("the key", ["key"])
    ranking = Fallback([reranker_of(settings), "input-order"]).rank("the key", ["key"])
    assert ranking.failures[0].error == "HubUnreachable"
    assert message in ranking.failures[0].message
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)) + ranking.failures[0].message + caplog.text


def publish(hub: Hub, *names: str) -> None:
    """Replace the published graph by copies of it under other names."""
    graph = hub.folder / "onnx/model.onnx"
    for name in names:
        (hub.folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(graph, hub.folder / name)
    graph.unlink()


def reranker_of(settings: ModelSettings, **arguments: object) -> CrossEncoderReranker:
    return CrossEncoderReranker(settings.model, cache_folder=settings.cache_folder, backend="onnx", **arguments)  # type: ignore[arg-type]


def test_the_only_graph_of_a_repository_is_taken_and_found_again_in_the_cache(
    hub: Hub, at: Callable[..., ModelSettings]
) -> None:
    publish(hub, "onnx/model_O3.onnx")
    first = reranker_of(at(hub.url))
    expected = first.score("the key", ["key"]).raw
    first.close()
    for endpoint, arguments in (("http://127.0.0.1:9", {}), (hub.url, {"local_files_only": True})):
        again = reranker_of(at(endpoint), **arguments)
        assert again.score("the key", ["key"]).raw == expected
        again.close()
    hub.requests.clear()
    pinned = reranker_of(at(hub.url), revision=COMMIT)
    assert pinned.score("the key", ["key"]).raw == expected
    assert hub.requests == []


def test_several_graphs_of_a_repository_are_listed_and_none_is_fetched(
    hub: Hub, at: Callable[..., ModelSettings]
) -> None:
    publish(hub, "onnx/model_O3.onnx", "model_O2.onnx")
    with pytest.raises(UnsupportedModel, match=r"has model_O2\.onnx, onnx/model_O3\.onnx\. Choose one with onnx_file="):
        reranker_of(at(hub.url)).rank("the key", ["key"])
    assert not any(name.endswith((".onnx", ".onnx_data")) for name in hub.asked("GET"))
    assert reranker_of(at(hub.url), onnx_file="./onnx/model_O3.onnx").rank("the key", ["key"])


def test_a_repository_without_the_file_that_was_named_lists_what_it_has(
    hub: Hub, at: Callable[..., ModelSettings]
) -> None:
    with pytest.raises(ModelNotFound, match=r"has no file onnx/model_O9\.onnx: it has onnx/model\.onnx"):
        reranker_of(at(hub.url), onnx_file="onnx/model_O9.onnx").rank("the key", ["key"])


def test_a_usual_name_of_another_type_is_not_fetched_in_vain(hub: Hub, at: Callable[..., ModelSettings]) -> None:
    with pytest.raises(UnsupportedModel, match="has no int8 ONNX file"):
        reranker_of(at(hub.url), dtype="int8").rank("the key", ["key"])
    assert not any(name.endswith(".onnx") for name in hub.asked("GET"))


def test_a_mirror_that_lists_no_files_is_asked_for_the_usual_ones(hub: Hub, at: Callable[..., ModelSettings]) -> None:
    answer = hub.answer

    def without_listing(request: Request) -> Reply:
        return Reply.error(404, "no") if request.path.startswith("/api/") else answer(request)

    hub.answer = without_listing  # type: ignore[method-assign]
    assert reranker_of(at(hub.url)).rank("the key", ["key"])
    publish(hub, "onnx/model_O3.onnx")
    with pytest.raises(UnsupportedModel, match="has no ONNX file"):
        reranker_of(at(hub.url), revision="v1").rank("the key", ["key"])
