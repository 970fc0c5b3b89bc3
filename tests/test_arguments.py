"""Arguments, everywhere: what numpy calls a number or a flag is one, and what is none is named in the error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest

pytest.importorskip("numpy")

import numpy as np
from pydantic import SecretStr

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
    KnowledgeSDKClient,
    LexicalReranker,
    LongDocuments,
    Passages,
    Ranking,
    RerankEndpoint,
    TEIReranker,
    Timeout,
    VLLMReranker,
    from_config,
    to_config,
)
from ksdk_rerank._arguments import flag, integer, number, ordered
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.evaluation import DiskStore, evaluate, read_run

Make = Callable[[Any], object]


class Indexed:
    """Somebody's own integer."""

    def __index__(self) -> int:
        return 3

    def __repr__(self) -> str:
        return "Indexed(3)"


def of_a_call(value: Any) -> object:
    return InputOrder().rank("q", list("abcd"), top_n=value)


def of_a_search(value: Any) -> object:
    from ksdk_rerank.knowledgesdk.client import _body

    return _body("q", value, None, None)


def of_a_search_as(value: Any) -> object:
    from ksdk_rerank.knowledgesdk.client import _body

    return _body("q", 5, value, None)


def cohere(**options: Any) -> object:
    pytest.importorskip("cohere")
    return CohereReranker(api_key="k", **options)


def a_ranking() -> Ranking:
    return InputOrder().rank("q", ["a"])


def of_an_evaluation(**options: Any) -> object:
    try:
        return evaluate(["input-order"], {}, {}, {}, **options)
    except ValueError as error:
        if "nothing to measure" in str(error):  # so the number was taken
            return None
        raise


INTEGERS: Mapping[str, tuple[str, Make]] = {
    "Reranker.rank": ("top_n", of_a_call),
    "Cascade": ("keep", lambda value: Cascade("lexical", "lexical", keep=value)),
    "Cached": ("max_entries", lambda value: Cached("lexical", max_entries=value)),
    "LongDocuments.window": ("window", lambda value: LongDocuments("lexical", window=value)),
    "LongDocuments.stride": ("stride", lambda value: LongDocuments("lexical", stride=value)),
    "Passages.max_tokens_per_document": (
        "max_tokens_per_document",
        lambda value: Passages("lexical", max_tokens_per_document=value),
    ),
    "LongDocuments.k": ("k", lambda value: LongDocuments("lexical", pool="mean", k=value)),
    "LongDocuments.max_windows": ("max_windows", lambda value: LongDocuments("lexical", max_windows=value)),
    "CrossEncoderReranker.max_waiting": (
        "max_waiting",
        lambda value: CrossEncoderReranker("some/model", max_waiting=value),
    ),
    "CrossEncoderReranker": ("max_length", lambda value: CrossEncoderReranker("some/model", max_length=value)),
    "JinaReranker": (
        "max_documents_per_request",
        lambda value: JinaReranker(api_key="k", max_documents_per_request=value),
    ),
    "CohereReranker": ("max_tokens_per_document", lambda value: cohere(max_tokens_per_document=value)),
    "TEIReranker": (
        "max_documents_per_request",
        lambda value: TEIReranker("http://a", max_documents_per_request=value),
    ),
    "VLLMReranker": ("retries", lambda value: VLLMReranker("http://a", retries=value)),
    "InfinityReranker": ("retries", lambda value: InfinityReranker("http://a", retries=value)),
    "KnowledgeSDKClient": ("retries", lambda value: KnowledgeSDKClient("key", retries=value)),
    "KnowledgeSDKClient.search": ("limit", of_a_search),
    "evaluate": ("resamples", lambda value: of_an_evaluation(resamples=value)),
    "evaluate.seed": ("seed", lambda value: of_an_evaluation(seed=value)),
}

NUMBERS: Mapping[str, tuple[str, Make]] = {
    "Reranker.rank": ("min_score", lambda value: InputOrder().rank("q", ["a"], min_score=value)),
    "LexicalReranker.k1": ("k1", lambda value: LexicalReranker(k1=value)),
    "LexicalReranker.b": ("b", lambda value: LexicalReranker(b=value)),
    "Fusion": ("k", lambda value: Fusion(["lexical"], k=value)),
    "Fusion.weights": ("weights", lambda value: Fusion(["lexical"], weights=[value])),
    "Cached": ("ttl", lambda value: Cached("lexical", ttl=value)),
    "Deduplicated": ("threshold", lambda value: Deduplicated("lexical", threshold=value)),
    "evaluate": ("confidence", lambda value: of_an_evaluation(confidence=value)),
    "evaluate.keep_answers": ("keep_answers", lambda value: of_an_evaluation(keep_answers=value)),
    "Calibrated": ("slope", lambda value: Calibrated("lexical", slope=value, intercept=0.0)),
    "Timeout": ("total", lambda value: Timeout(total=value)),
    "CrossEncoderReranker": ("timeout", lambda value: CrossEncoderReranker("some/model", timeout=value)),
    "JinaReranker": ("timeout", lambda value: JinaReranker(api_key="k", timeout=value)),
    "CohereReranker": ("timeout", lambda value: cohere(timeout=value)),
    "VLLMReranker": ("timeout", lambda value: VLLMReranker("http://a", timeout=value)),
    "KnowledgeSDKClient": ("timeout", lambda value: KnowledgeSDKClient("key", timeout=value)),
}

FLAGS: Mapping[str, tuple[str, Make]] = {
    "CrossEncoderReranker.local_files_only": (
        "local_files_only",
        lambda value: CrossEncoderReranker("some/model", local_files_only=value),
    ),
    "CrossEncoderReranker.trust_remote_code": (
        "trust_remote_code",
        lambda value: CrossEncoderReranker("some/model", trust_remote_code=value),
    ),
    "ModelSettings": ("trust_remote_code", lambda value: ModelSettings("some/model", trust_remote_code=value)),
    "CohereReranker": ("relevant_spans", lambda value: cohere(relevant_spans=value)),
    "CohereReranker.raw_scores": ("raw_scores", lambda value: cohere(raw_scores=value)),
    "JinaReranker": ("raw_scores", lambda value: JinaReranker(api_key="k", raw_scores=value)),
    "TEIReranker": ("truncate", lambda value: TEIReranker("http://a", truncate=value)),
    "VLLMReranker": ("truncate", lambda value: VLLMReranker("http://a", truncate=value)),
    "InfinityReranker": ("raw_scores", lambda value: InfinityReranker("http://a", raw_scores=value)),
    "KnowledgeSDKClient": (
        "empty_when_unavailable",
        lambda value: KnowledgeSDKClient("key", empty_when_unavailable=value),
    ),
    "Reranker.rank_many": (
        "return_exceptions",
        lambda value: InputOrder().rank_many(["q"], [["a"]], return_exceptions=value),
    ),
    "Ranking.within": ("skip_oversized", lambda value: a_ranking().within(9, skip_oversized=value)),
    "Ranking.within.passages": ("passages", lambda value: a_ranking().within(9, passages=value)),
    "evaluate": ("titles", lambda value: of_an_evaluation(titles=value)),
    "DiskStore": ("read", lambda value: DiskStore(read=value)),
}

ORDERED: Mapping[str, tuple[str, Make]] = {
    "Reranker.rank": ("documents", lambda value: InputOrder().rank("q", value)),
    "Reranker.rank_many": ("documents", lambda value: InputOrder().rank_many(["q"], [value])),
    "Reranker.rank_many.queries": ("queries", lambda value: InputOrder().rank_many(value, [["a"], ["a"]])),
    "Reranker.rank_many.documents": ("documents", lambda value: InputOrder().rank_many(["q"] * 2, value)),
    "Fallback": ("rerankers", Fallback),
    "Fusion": ("rerankers", Fusion),
    "Fusion.weights": ("weights", lambda value: Fusion(["lexical", "lexical"], weights=value)),
    "evaluate.metrics": ("metrics", lambda value: evaluate(["lexical"], {}, {}, {}, value)),
    "evaluate.candidates": ("candidates", lambda value: evaluate(["lexical"], {"q": "key"}, {"q": value}, {})),
}

TEXTS: Mapping[str, tuple[str, Make]] = {
    "CrossEncoderReranker.device": ("device", lambda value: CrossEncoderReranker("some/model", device=value)),
    "CrossEncoderReranker.revision": ("revision", lambda value: CrossEncoderReranker("some/model", revision=value)),
    "JinaReranker": ("model", lambda value: JinaReranker(api_key="k", model=value)),
    "VLLMReranker": ("instruction", lambda value: VLLMReranker("http://a", instruction=value)),
    "Passages": ("language", lambda value: Passages("lexical", language=value)),
    "RerankEndpoint": (
        "api_key_variable",
        lambda value: RerankEndpoint("http://a", api_key="k", api_key_variable=value),
    ),
    "KnowledgeSDKClient.search": ("api_key_id", of_a_search_as),
}

FUNCTIONS: Mapping[str, tuple[str, Make]] = {
    "Reranker.rank_many": ("progress", lambda value: InputOrder().rank_many(["q"], [["a"]], progress=value)),
    "Ranking.within": ("count", lambda value: a_ranking().within(9, count=value)),
    "JinaReranker": ("client_factory", lambda value: JinaReranker(api_key="k", client_factory=value)),
    "KnowledgeSDKClient": ("client_factory", lambda value: KnowledgeSDKClient("key", client_factory=value)),
    "evaluate": ("progress", lambda value: of_an_evaluation(progress=value)),
    "evaluate.count_tokens": ("count_tokens", lambda value: of_an_evaluation(count_tokens=value)),
}

integers = pytest.mark.parametrize(("name", "make"), INTEGERS.values(), ids=INTEGERS.keys())
numbers = pytest.mark.parametrize(("name", "make"), NUMBERS.values(), ids=NUMBERS.keys())
flags = pytest.mark.parametrize(("name", "make"), FLAGS.values(), ids=FLAGS.keys())
texts = pytest.mark.parametrize(("name", "make"), TEXTS.values(), ids=TEXTS.keys())
functions = pytest.mark.parametrize(("name", "make"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
ordered_arguments = pytest.mark.parametrize(("name", "make"), ORDERED.values(), ids=ORDERED.keys())


NO_INTEGERS = [
    True,
    np.True_,
    3.0,
    np.float32(3),
    math.nan,
    "3",
    "three",
    b"3",
    [3],
    np.array([3]),
    pytest.param(object(), id="object()"),
]
NO_NUMBERS = ["0.5", "a", True, np.True_, 1j, [0.5]]


# The rules, once


@pytest.mark.parametrize("three", [3, np.int64(3), np.uint8(3), np.array(3), Indexed()], ids=repr)
def test_whatever_has_an_index_is_an_integer(three: Any) -> None:
    checked = integer("n", three)
    assert (checked, type(checked)) == (3, int)


@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
def test_what_is_no_integer_is_refused_by_the_arguments_name_and_its_value(value: Any) -> None:
    with pytest.raises(ValueError, match="n must be an integer of at least 1") as caught:
        integer("n", value)
    assert isinstance(caught.value, TypeError)
    assert repr(value)[:70] in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, np.int64(-1), -(10**30)], ids=repr)
def test_an_integer_that_is_too_small_is_refused_alike(value: Any) -> None:
    with pytest.raises(ValueError, match=f"n must be at least 1, got {int(value)}"):
        integer("n", value)


@pytest.mark.parametrize(
    "half", [0.5, np.float32(0.5), np.float16(0.5), np.float64(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5")]
)
def test_whatever_is_a_real_number_is_kept_as_a_float(half: Any) -> None:
    checked = number("x", half)
    assert (checked, type(checked)) == (0.5, float)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_by_the_arguments_name_and_its_value(value: Any) -> None:
    with pytest.raises(ValueError, match="x must be a number") as caught:
        number("x", value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [True, np.True_, np.array(True)], ids=repr)
def test_whatever_is_a_boolean_is_a_flag(value: Any) -> None:
    assert flag("x", value) is True


@pytest.mark.parametrize("value", ["false", "true", "", 0, 1, 1.0, None, [True], np.array([True])], ids=repr)
def test_what_is_no_boolean_is_refused_whether_or_not_python_calls_it_true(value: Any) -> None:
    with pytest.raises(ValueError, match="x must be True or False, got") as caught:
        flag("x", value)
    assert isinstance(caught.value, TypeError)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [["b", "a"], ("b", "a"), np.array(["b", "a"]), {1: "b", 2: "a"}.values()], ids=repr)
def test_whatever_has_an_order_becomes_a_list(value: Any) -> None:
    assert ordered("x", value) == ["b", "a"]
    assert ordered("x", iter(value)) == ["b", "a"]


# Every argument obeys them


@integers
def test_every_integer_argument_takes_numpys_and_refuses_what_is_none(name: str, make: Make) -> None:
    kept = getattr(make(np.int64(3)), name, 3)
    assert (kept, type(kept)) == (3, int)
    for value in (True, 3.0, "3"):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least [01]") as caught:
            make(value)
        assert isinstance(caught.value, TypeError)
    with pytest.raises(ValueError, match=rf"{name} must be at least [01].*, got -1"):
        make(-1)


@numbers
def test_every_number_argument_takes_numpys_and_refuses_what_is_none(name: str, make: Make) -> None:
    kept = getattr(make(np.float32(0.5)), name, 0.5)
    if isinstance(kept, tuple):
        [kept] = kept
    assert (kept, type(kept)) == (0.5, float)
    for value in ("0.5", True, math.nan):
        with pytest.raises(ValueError, match=name.removesuffix("s")) as caught:
            make(value)
        assert repr(value) in str(caught.value)


@flags
def test_every_flag_takes_numpys_and_refuses_what_is_none(name: str, make: Make) -> None:
    assert getattr(make(np.False_), name, False) is False
    for value in ("false", "true", 0, None):
        with pytest.raises(ValueError, match=f"{name} must be True or False, got {value!r}") as caught:
            make(value)
        assert isinstance(caught.value, TypeError)


@texts
def test_every_text_is_refused_if_it_is_none_or_blank(name: str, make: Make) -> None:
    assert getattr(make("no"), name, "no") == "no"
    for value in (False, 123456, ["no"], b"no"):  # YAML reads "no" as False, and a commit of digits as a number
        with pytest.raises(ValueError, match=f"{name} must be a string") as caught:
            make(value)
        assert isinstance(caught.value, TypeError)
    with pytest.raises(ValueError, match=f"{name} is blank"):
        make(" ")


@functions
def test_every_function_is_refused_if_it_cannot_be_called(name: str, make: Make) -> None:
    make(None)
    for value in (True, "print"):
        with pytest.raises(ValueError, match=rf"{name} must be a function.*, or None, got {value!r}") as caught:
            make(value)
        assert isinstance(caught.value, TypeError)


def test_a_token_of_another_type_is_not_shown() -> None:
    for token in (b"hf_secret", SecretStr("hf_secret")):
        with pytest.raises(ValueError, match=r"token must be a string or None, got a (bytes|SecretStr)$"):
            CrossEncoderReranker("some/model", token=token)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [b"folder", 5, None])
def test_a_model_is_a_text_or_a_path_of_text(path: Any) -> None:
    with pytest.raises(TypeError, match=r"model must be a string or a path, got"):
        CrossEncoderReranker(path)


@ordered_arguments
def test_every_list_is_refused_as_a_set_or_a_mapping(name: str, make: Make) -> None:
    for value in ({"lexical", "input-order"}, frozenset({"lexical", "input-order"})):
        with pytest.raises(
            ValueError, match=rf"{name}\S* must be a list.*, got a .*set.*no order; pass a list"
        ) as caught:
            make(value)
        assert isinstance(caught.value, TypeError)
    for mapping in ({"lexical": "text", "input-order": "text"}, MappingProxyType({"lexical": 1.0, "input-order": 2.0})):
        with pytest.raises(
            ValueError, match=rf"{name}\S* must be a list.*, got a (dict|mappingproxy); pass its"
        ) as caught:
            make(mapping)
        assert isinstance(caught.value, TypeError)


def test_rerankers_to_evaluate_have_an_order_or_labels() -> None:
    with pytest.raises(ValueError, match="rerankers must be a list, got a set, which has no order"):
        evaluate({"lexical", "input-order"}, {}, {}, {})  # type: ignore[arg-type]


def test_a_configuration_from_text_cannot_turn_a_flag_on_by_denying_it() -> None:
    with pytest.raises(ValueError, match="trust_remote_code must be True or False, got 'false'"):
        from_config({"class": "CrossEncoderReranker", "parameters": {"trust_remote_code": "false"}})


def test_a_reranker_made_with_numpys_numbers_can_be_written_and_told_from_others() -> None:
    k1, ttl, keep = cast("tuple[float, float, int]", (np.float32(0.5), np.float32(9), np.int64(7)))
    made = Cascade(LexicalReranker(k1=k1), Cached("lexical", ttl=ttl), keep=keep)
    assert repr(from_config(to_config(made))) == repr(made)


@pytest.mark.parametrize("limit", [np.int64(1), np.uint8(1)])
def test_a_run_is_cut_to_a_limit_of_numpys(tmp_path: Path, limit: Any) -> None:
    run = tmp_path / "run.txt"
    run.write_text("q1 Q0 d1 1 2.0 t\nq1 Q0 d2 2 1.0 t\n", encoding="utf-8")
    from ksdk_rerank import SearchHit

    corpus = {name: SearchHit(name, "text") for name in ("d1", "d2")}
    assert [hit.id for hit in read_run(run, corpus, limit=limit)["q1"]] == ["d1"]
    for wrong in ("1", True, 1.0):
        with pytest.raises(ValueError, match="limit must be an integer of at least 1 or None"):
            read_run(run, corpus, limit=wrong)  # type: ignore[arg-type]


def test_numbers_beyond_the_range_of_floats_are_infinite_and_signalling_nans_are_nans() -> None:
    assert [number("x", 10**400), number("x", -(10**400))] == [math.inf, -math.inf]
    assert math.isnan(number("x", Decimal("sNaN")))


def test_an_integer_that_stands_for_a_number_stays_one() -> None:
    assert repr(LexicalReranker(k1=2)) == "LexicalReranker(k1=2)"
    assert repr(LexicalReranker(k1=cast("int", np.int64(2)))) == "LexicalReranker(k1=2)"


def test_a_message_can_end_with_advice_and_offer_none() -> None:
    with pytest.raises(ValueError, match=r"^n must be an integer of at least 2 or None, got '2' .str.; leave it$"):
        integer("n", "2", at_least=2, or_none=True, advice="leave it")


def test_a_value_is_not_quoted_at_length() -> None:
    with pytest.raises(ValueError, match=r"^n must be") as caught:
        integer("n", "9" * 1000)
    assert len(str(caught.value)) < 160
