"""`to_config` and `from_config`: rerankers as plain data, and nothing else."""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

import ksdk_rerank
from ksdk_rerank import (
    Cached,
    Calibrated,
    Cascade,
    CohereReranker,
    CrossEncoderReranker,
    Deduplicated,
    Fallback,
    Fusion,
    InfinityReranker,
    InputOrder,
    JinaReranker,
    LexicalReranker,
    LongDocuments,
    NVIDIAReranker,
    Passages,
    Ranking,
    RerankEndpoint,
    Reranker,
    TEIReranker,
    Timeout,
    VLLMReranker,
    VoyageReranker,
    from_config,
    load_reranker,
    to_config,
)
from ksdk_rerank.errors import MissingExtra, MissingKey

SECRET = "do-not-show-me-anywhere"


def rerankers() -> list[Reranker]:
    """One of each exported class, with options."""
    local = CrossEncoderReranker(
        "some/model", dtype="float32", max_length=256, revision="abc", token=SECRET, instruction="Prefer recent ones"
    )
    hosted = [
        JinaReranker("jina-reranker-v3", api_key=SECRET, timeout=Timeout(connect=1.0, total=5.0)),
        VoyageReranker("rerank-2.5-lite", api_key=SECRET, max_documents_per_request=100),
        NVIDIAReranker("nvidia/llama-3.2-nv-rerankqa-1b-v2", api_key=SECRET),
        RerankEndpoint(
            "https://openrouter.ai/api/v1",
            "cohere/rerank-v3.5",
            api_key=SECRET,
            api_key_variable="OPENROUTER_API_KEY",
            extra_headers={"X-Title": "my app"},
            extra_body={"provider": {"order": ["Cohere"], "allow_fallbacks": False}},
            extra_query={"version": "2"},
        ),
        TEIReranker("http://localhost:8080", api_key=SECRET, truncate=False),
        VLLMReranker("http://localhost:8000", model="a/b", raw_scores=True, instruction="Prefer recent ones"),
        InfinityReranker("http://localhost:7997", max_documents_per_request=None),
    ]
    with contextlib.suppress(MissingExtra):  # its SDK
        hosted.append(CohereReranker(api_key=SECRET, max_tokens_per_document=512, retries=0))
    wrappers = [
        Cascade(LexicalReranker(k1=2.0), LongDocuments(local, stride=64, pool="mean"), keep=7),
        Fusion(["lexical", InputOrder()], k=10, weights=[1.0, 0.5]),
        Fallback([hosted[0], Cached(local, max_entries=9, ttl=1.5)]),
        Deduplicated("lexical", by="near", threshold=0.5),
        Cached("lexical"),
        Calibrated("lexical", slope=0.5, intercept=-1.0),
        LongDocuments("lexical"),
        Passages(Cached("lexical"), max_tokens_per_document=50, language="de"),
    ]
    return [LexicalReranker(k1=2.0, b=0.5), InputOrder(), local, *hosted, *wrappers]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JINA_API_KEY", "CO_API_KEY", "VOYAGE_API_KEY", "NVIDIA_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "from-the-environment")


@pytest.mark.parametrize("reranker", rerankers(), ids=lambda reranker: type(reranker).__name__)
def test_a_reranker_comes_back_from_json_with_its_options_and_without_its_key(reranker: Reranker) -> None:
    written = json.dumps(to_config(reranker))
    assert SECRET not in written
    restored = from_config(json.loads(written))
    assert type(restored) is type(reranker)
    assert repr(restored) == repr(reranker)
    assert to_config(restored) == to_config(reranker)
    assert load_reranker(json.loads(written)).name == reranker.name


@pytest.mark.parametrize("reranker", rerankers(), ids=lambda reranker: type(reranker).__name__)
def test_pickle_and_deepcopy_keep_the_options(reranker: Reranker) -> None:
    asleep = pickle.dumps(reranker)
    assert SECRET.encode() not in asleep
    for other in (pickle.loads(asleep), copy.deepcopy(reranker)):
        assert to_config(other) == to_config(reranker)


def test_every_exported_reranker_can_be_written_as_a_configuration() -> None:
    exported = {getattr(ksdk_rerank, name) for name in ksdk_rerank.__all__}
    leaves = {kind for kind in exported if inspect.isclass(kind) and issubclass(kind, Reranker)}
    pytest.importorskip("cohere")
    assert {kind for kind in leaves if not inspect.isabstract(kind)} == {type(each) for each in rerankers()}


def test_what_has_a_default_may_be_left_out_and_names_may_stand_for_rerankers() -> None:
    config = {"class": "Cascade", "parameters": {"first": "lexical", "second": {"class": "InputOrder"}}}
    assert repr(from_config(config)) == repr(Cascade("lexical", "input-order"))


def test_a_path_is_written_as_text(tmp_path: Path) -> None:
    assert to_config(CrossEncoderReranker(tmp_path)) == to_config(CrossEncoderReranker(str(tmp_path)))


class Mine(InputOrder):
    """Somebody's own."""

    def _rank(self, query: str, documents: list[str]) -> Ranking:  # type: ignore[override]
        return super()._rank(query, documents)


@pytest.mark.parametrize("reranker", [Mine(), Fallback([Mine()])])
def test_a_class_that_nobody_registers_is_refused_with_advice(reranker: Reranker) -> None:
    with pytest.raises(TypeError, match=r"Mine is neither a class of ksdk_rerank .* pass the reranker itself"):
        to_config(reranker)


def test_an_object_that_no_configuration_can_contain_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"Cached.store is a dict, .* add it where the reranker is created"):
        to_config(Cached("lexical", store={}))


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({"class": "os.system", "parameters": {"command": "true"}}, "use one of: .*LexicalReranker"),
        ({"class": "KnowledgeSDKClient"}, "use one of: "),
        ({"class": "ScoringReranker"}, "use one of: "),
        ({"class": ["LexicalReranker"]}, "use one of: "),
        ({}, "use one of: "),
        ({"class": "Timeout"}, "a reranker's configuration must look like"),
        ({"class": "LexicalReranker", "k1": 2.0}, "the configuration of LexicalReranker must look like"),
        ({"class": "LexicalReranker", "parameters": [2.0]}, "the configuration of LexicalReranker must look like"),
        ({"class": "LexicalReranker", "parameters": {"k1": -1}}, "k1 must be"),
        ({"class": "JinaReranker", "parameters": {"model": 3}}, "model must be a string or None, got 3"),
        ({"class": "VLLMReranker", "parameters": {"url": "http://localhost", "model": " "}}, "model is blank"),
        ({"class": "RerankEndpoint", "parameters": {"url": "http://a", "model": [3]}}, "model must be a string"),
        ({"class": "JinaReranker", "parameters": {"api_key": 12345678}}, r"api_key must be a string, got int$"),
        ({"class": "Cached", "parameters": {"reranker": {"class": "subprocess.run"}}}, "use one of: "),
    ],
)
def test_what_is_no_configuration_is_refused(config: Mapping[str, object], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        from_config(config)
    with pytest.raises(ValueError, match=advice):
        load_reranker(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class": "LexicalReranker", "parameters": {"k2": 1}}, "LexicalReranker.* unexpected keyword argument 'k2'"),
        ({"class": "Fallback", "parameters": {"rerankers": "lexical"}}, "rerankers must be a list, got one str"),
        ({"class": "Cached", "parameters": {"reranker": 3}}, "a reranker must be a Reranker, .*, got int"),
        ({"class": "Cached"}, "missing 1 required positional argument: 'reranker'"),
    ],
)
def test_parameters_that_do_not_fit_are_type_errors_that_command_lines_report(
    config: Mapping[str, object], message: str
) -> None:
    for wrapped in (config, {"class": "Cached", "parameters": {"reranker": config}}):
        with pytest.raises(TypeError, match=message) as raised:
            from_config(wrapped)
        assert isinstance(raised.value, ValueError)


def test_without_a_key_in_the_environment_the_error_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    config = to_config(JinaReranker())
    monkeypatch.delenv("JINA_API_KEY")
    with pytest.raises(MissingKey, match="JINA_API_KEY"):
        from_config(config)
