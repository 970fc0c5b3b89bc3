"""`load_reranker`: names become rerankers, and wrong names say which there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import (
    CrossEncoderReranker,
    InfinityReranker,
    InputOrder,
    JinaReranker,
    LexicalReranker,
    RerankEndpoint,
    TEIReranker,
    VLLMReranker,
    load_reranker,
)
from ksdk_rerank.errors import ModelNotFound
from ksdk_rerank.rerankers._self_hosted import SelfHostedReranker


def test_short_names_stand_for_their_classes() -> None:
    assert isinstance(load_reranker("lexical"), LexicalReranker)
    assert isinstance(load_reranker("input-order"), InputOrder)


def test_a_reranker_is_handed_back_as_it_is() -> None:
    reranker = LexicalReranker()
    assert load_reranker(reranker) is reranker


@pytest.mark.parametrize("name", ["cross-encoder/ms-marco-MiniLM-L-6-v2", "BAAI/bge-reranker-large"])
def test_a_hub_id_is_a_local_cross_encoder_that_is_not_loaded_yet(name: str) -> None:
    reranker = load_reranker(name)
    assert isinstance(reranker, CrossEncoderReranker)
    assert reranker.name == name


def test_a_folder_is_a_local_cross_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_reranker("model"), CrossEncoderReranker)


def test_a_hosted_reranker_goes_by_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JINA_API_KEY", "from-the-environment")
    reranker = load_reranker("jina:jina-reranker-m0")
    assert isinstance(reranker, JinaReranker)
    assert reranker.model == "jina-reranker-m0"


@pytest.mark.parametrize("kind", ["cohere", "jina", "nvidia", "voyage"])
def test_a_hosted_reranker_without_a_model_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"write {kind}:MODEL"):
        load_reranker(f"{kind}:")


@pytest.mark.parametrize(
    ("kind", "expected"), [("tei", TEIReranker), ("vllm", VLLMReranker), ("infinity", InfinityReranker)]
)
@pytest.mark.parametrize(
    ("model", "named"), [("", None), ("#", None), ("#BAAI/bge-reranker-v2-m3", "BAAI/bge-reranker-v2-m3")]
)
def test_a_server_goes_by_its_url_and_the_model_behind_it(
    kind: str, expected: type[SelfHostedReranker], model: str, named: str | None
) -> None:
    reranker = load_reranker(f"{kind}:http://localhost:8000{model}")
    assert isinstance(reranker, expected)
    assert (reranker.url, reranker.model) == ("http://localhost:8000", named)


@pytest.mark.parametrize(
    ("name", "url", "model"),
    [
        ("http://localhost:8080", "http://localhost:8080", None),
        ("HTTPS://rerank.example.com/v1 # a/b", "HTTPS://rerank.example.com/v1", "a/b"),
        ("http://localhost:8080/v1?version=2#a/b@c", "http://localhost:8080/v1?version=2", "a/b@c"),
    ],
)
def test_a_url_alone_is_any_server_of_the_usual_kind(name: str, url: str, model: str | None) -> None:
    reranker = load_reranker(name)
    assert isinstance(reranker, RerankEndpoint)
    assert (reranker.url, reranker.model) == (url, model)


@pytest.mark.parametrize("kind", ["", "tei:", "vllm:"])
@pytest.mark.parametrize("user", ["alice:s3cret@", "alice:p@s3cret@", "alice:1#s3cret@", "s3cret:@"])
def test_a_url_with_a_password_is_refused_without_showing_it(kind: str, user: str) -> None:
    with pytest.raises(ValueError, match="no user name, password or fragment") as caught:
        load_reranker(f"{kind}http://{user}host/v1")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["lexicle", "", "bm25", "cohere", "lexical:"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="use one of: embedded, lexical, input-order, "):
        load_reranker(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        # misspelt
        ("embeded", "embedded"),
        ("lexcial", "lexical"),
        ("input_order", "input-order"),
        ("coher:rerank-v3.5", "cohere:rerank-v3.5"),
        ("inifnity:http://localhost:7997", "infinity:http://localhost:7997"),
        # in another case, or by its class
        ("Lexical", "lexical"),
        ("EMBEDDED", "embedded"),
        ("InputOrder", "input-order"),
        ("LexicalReranker", "lexical"),
        ("TEI:http://localhost:8080", "tei:http://localhost:8080"),
        ("Cohere:rerank-v3.5", "cohere:rerank-v3.5"),
        ("vLLM:http://localhost:8000#BAAI/bge", "vllm:http://localhost:8000#BAAI/bge"),
        # a slash for the colon
        ("cohere/rerank-v3.5", "cohere:rerank-v3.5"),
        ("jina/jina-reranker-m0", "jina:jina-reranker-m0"),
        ("tei/http://localhost:8080", "tei:http://localhost:8080"),
    ],
)
def test_a_name_that_is_nearly_right_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match="use one of: embedded, lexical, input-order, ") as caught:
        load_reranker(name)
    assert f"did you mean {nearest!r}?" in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "zeroentropy:x/y",
        "zeroentropy:zerank-2",
        "openai:BAAI/bge",
        "hf://BAAI/bge",
        "file:///models/bge",
        "a:b:c",
        ":x/y",
        "x/y:z",
    ],
)
def test_an_unknown_prefix_is_never_taken_for_a_hub_id(name: str) -> None:
    with pytest.raises(ValueError, match="use one of: embedded, lexical, input-order, "):
        load_reranker(name)


@pytest.mark.parametrize(
    "name",
    [
        "TEI:http://alice:s3cret@host/v1",
        "vlm:https://host/v1?api-key=s3cret",
    ],
)
def test_a_refused_address_is_shown_without_its_secrets(name: str) -> None:
    with pytest.raises(ValueError, match="did you mean") as caught:
        load_reranker(name)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["cohere/rerank-v3.5", "jina/some-model"])
def test_a_hub_id_that_looks_like_a_name_can_be_had_through_the_class(name: str) -> None:
    with pytest.raises(ValueError, match=rf"on the hub is CrossEncoderReranker\('{name}'\)"):
        load_reranker(name)
    assert CrossEncoderReranker(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "jinaai/jina-reranker-v2-base-multilingual",
        "Cohere/some-model",
        "CohereLabs/some-model",
        "vllm-project/some-model",
        "mixedbread-ai/mxbai-rerank-base-v1",
    ],
)
def test_a_hub_organisation_with_a_name_like_a_prefix_is_reached(name: str) -> None:
    reranker = load_reranker(name)
    assert isinstance(reranker, CrossEncoderReranker)
    assert reranker.name == name


@pytest.mark.parametrize(
    "name",
    [
        "./model",
        "../model",
        "~/model",
        "/models/bge",
        "models/rerankers/bge",
        ".\\model",
        "models\\bge",
        "C:\\models\\bge",
        "C:/models/bge",
        "d:\\bge",
        "\\\\share\\models\\bge",
    ],
)
def test_a_path_is_a_folder_which_may_be_made_before_the_first_call(name: str) -> None:
    reranker = load_reranker(name)
    assert isinstance(reranker, CrossEncoderReranker)
    with pytest.raises(ModelNotFound, match="is neither a folder"):
        reranker.rank("query", ["document"])


def test_a_folder_that_is_there_goes_before_what_it_may_look_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cohere" / "rerank").mkdir(parents=True)
    (tmp_path / "a: model").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("cohere/rerank", "a: model"):
        assert isinstance(load_reranker(name), CrossEncoderReranker)


def test_blanks_around_a_name_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JINA_API_KEY", "from-the-environment")
    assert isinstance(load_reranker(" lexical\n"), LexicalReranker)
    assert load_reranker("BAAI/bge-reranker-large\n").name == "BAAI/bge-reranker-large"
    jina = load_reranker("jina: jina-reranker-m0 ")
    assert isinstance(jina, JinaReranker)
    assert jina.model == "jina-reranker-m0"
    tei = load_reranker("tei: http://localhost:8080 # BAAI/bge ")
    assert isinstance(tei, TEIReranker)
    assert (tei.url, tei.model) == ("http://localhost:8080", "BAAI/bge")


@pytest.mark.parametrize("name", [None, 3, LexicalReranker])
def test_anything_but_a_name_or_a_reranker_is_a_type_error(name: Any) -> None:
    with pytest.raises(TypeError, match="a reranker must be a Reranker, a name or a configuration"):
        load_reranker(name)
