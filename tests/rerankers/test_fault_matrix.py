"""Every kind of fault, as a leaf meets it: sync and async, alone and inside `Fallback`.

`tests/transport` and `tests/engines` look at each fault closely. Here each is met once, with real servers, files and
engines: the error is ours and of the right class, and `Fallback` moves on if it is transient. Cohere's requests go
through its SDK, Jina's directly, as those of all others: these two meet every fault. The others meet those faults that
depend on how they read a reply; OpenRouter stands for all that `RerankEndpoint` reaches.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import break_inside

from ksdk_rerank import CrossEncoderReranker, Fallback, errors
from ksdk_rerank._transport import retry
from ksdk_rerank.base import Reranker
from ksdk_rerank.engines import select
from ksdk_rerank.testing import Fault

Call = Callable[..., Any]

QUERY, DOCUMENTS = "the key", ["create a key", "an invoice", "", "revoke"]
SAID = json.dumps({"error": "what the service says"}).encode()


def _status(status: int) -> Fault:
    return Fault(status=status, body=SAID, headers={"retry-after": "0"})


# What a service does, and the error that it is.
REMOTE_FAULTS: dict[str, tuple[Fault, type[errors.RerankError]]] = {
    "refused input": (_status(400), errors.BadRequest),
    "wrong key": (_status(401), errors.Unauthorized),
    "no credit": (_status(402), errors.QuotaExceeded),
    "not allowed": (_status(403), errors.Unauthorized),
    "wrong address": (_status(404), errors.NotFound),
    "too large": (_status(413), errors.BadRequest),
    "rate limit": (_status(429), errors.RateLimited),
    "redirect": (Fault(status=307, headers={"location": "http://127.0.0.1:9/"}), errors.Redirected),
    "server error": (_status(500), errors.ServerError),
    "unavailable": (_status(503), errors.ServerError),
    "status with a cut body": (Fault(status=503, body=SAID, cut_after=5), errors.ServerError),
    "reset": (Fault(reset=True), errors.ConnectionFailed),
    "cut reply": (Fault(body=SAID, cut_after=5), errors.ConnectionFailed),
    "silence": (Fault(delay=30), errors.TimedOut),
    "a web page": (Fault(body=b"<html></html>"), errors.BadReply),
    "an error under status 200": (Fault(body=SAID), errors.BadReply),
    "another shape": (Fault(body=b'{"answers": []}'), errors.BadReply),
}


def _nothing(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder / "missing")


def _without_a_hub(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker("some/model", cache_folder=folder)


def _damaged(name: str, content: bytes) -> Callable[[Path], CrossEncoderReranker]:
    def damage(folder: Path) -> CrossEncoderReranker:
        (folder / name).write_bytes(content)
        return CrossEncoderReranker(folder, backend="onnx")

    return damage


def _another_kind(folder: Path) -> CrossEncoderReranker:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {"0": "no", "1": "yes"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return CrossEncoderReranker(folder)


def _failing(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(break_inside(folder), backend="onnx", dtype="float32")


def _too_slow(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder, timeout=0.05)


LOCAL_FAULTS: dict[str, tuple[Callable[[Path], CrossEncoderReranker], type[errors.RerankError]]] = {
    "no such folder": (_nothing, errors.ModelNotFound),
    "no hub": (_without_a_hub, errors.HubUnreachable),
    "a damaged config": (_damaged("config.json", b""), errors.ModelError),
    "a damaged tokenizer": (
        _damaged("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\n"),
        errors.ModelError,
    ),
    "a damaged graph": (_damaged("onnx/model.onnx", b"<html></html>"), errors.ModelError),
    "a classifier": (_another_kind, errors.UnsupportedModel),
    "a failing engine": (_failing, errors.InferenceFailed),
    "no time": (_too_slow, errors.TimedOut),
}

IN_THE_REPLY = ("an error under status 200", "another shape")
CELLS = [
    *((leaf, fault) for leaf in ("cohere", "jina") for fault in REMOTE_FAULTS),
    *(
        (leaf, fault)
        for leaf in ("infinity", "nvidia", "openrouter", "tei", "vllm", "voyage")
        for fault in IN_THE_REPLY
    ),
    *(("local", fault) for fault in LOCAL_FAULTS),
]


@pytest.fixture
def failing(
    request: pytest.FixtureRequest,
    provider_named: Callable[[str], Any],
    make_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Reranker, type[errors.RerankError]]]:
    """A leaf that meets a fault at every call, and the error that is expected."""
    leaf, name = request.param
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)
    if leaf == "local":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        build, error = LOCAL_FAULTS[name]
        go_on, load = threading.Event(), select.load
        if error is errors.TimedOut:  # the model loads only after the test
            monkeypatch.setattr(select, "load", lambda settings: go_on.wait(20) and load(settings))
        with build(make_model()) as reranker:
            yield reranker, error
            go_on.set()
        return
    fault, error = REMOTE_FAULTS[name]
    provider = provider_named(leaf)
    with (
        provider.reranker(timeout=0.2 if name == "silence" else 10.0, retries=1) as reranker,
        provider.server.failing(fault),
    ):
        yield reranker, error


@pytest.mark.parametrize("failing", CELLS, ids=map(": ".join, CELLS), indirect=True)
def test_a_fault_is_our_error_alone_and_what_fallback_decides_by(
    call: Call, failing: tuple[Reranker, type[errors.RerankError]], capfd: pytest.CaptureFixture[str]
) -> None:
    reranker, expected = failing
    with pytest.raises(errors.RerankError) as raised:
        call(reranker.rank, QUERY, DOCUMENTS)
    assert isinstance(raised.value, expected)
    assert raised.value.transient == expected.transient
    if isinstance(raised.value, errors.ServiceError):
        assert raised.value.service
        assert raised.value.service in str(raised.value)
    fallback = Fallback([reranker, "input-order"])
    if not expected.transient:
        with pytest.raises(type(raised.value)):
            call(fallback.rank, QUERY, DOCUMENTS)
        return
    ranking = call(fallback.rank, QUERY, DOCUMENTS)
    assert ranking.indices == (0, 1, 3, 2)  # nothing lost, and the blank document last
    assert [(failure.reranker, failure.error) for failure in ranking.failures] == [
        (reranker.name, type(raised.value).__name__)
    ]
    capfd.readouterr()  # onnxruntime logs its own errors


def test_every_error_of_a_model_or_a_service_is_met() -> None:
    met = {error for _, error in REMOTE_FAULTS.values()} | {error for _, error in LOCAL_FAULTS.values()}
    met |= {
        errors.InvalidEnvironment,  # test_faults.py
        errors.Overloaded,  # tests/engines/test_deadlines.py
        errors.SearchUnavailable,  # of KnowledgeSDK's search, which is no leaf
        errors.ServiceError,
        errors.ModelError,
    }
    known = {getattr(errors, name) for name in errors.__all__}
    assert {each for each in known if issubclass(each, (errors.ModelError, errors.ServiceError))} == met
    assert len(CELLS) == len(set(CELLS)) == 2 * 17 + 6 * 2 + 8
