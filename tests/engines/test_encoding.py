from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tokenizers import Tokenizer, processors

from ksdk_rerank.engines.encoding import PairEncoder
from ksdk_rerank.errors import UnsupportedModel

QUERY = "how do i rotate an api key"


def load(folder: str) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def test_pairs_are_those_of_the_tokenizer_itself(tiny_model: str, documents: list[str]) -> None:
    encoded = PairEncoder(load(tiny_model), 1000, "tiny").encode(QUERY, documents)
    for document, pair in zip(documents, encoded.pairs, strict=True):
        expected = load(tiny_model).encode(QUERY, document)
        assert pair.tolist() == [expected.ids, expected.type_ids]
    assert not any(encoded.truncated)


@pytest.mark.parametrize(
    "processor",
    [processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)), processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))],
    ids=["bert", "roberta"],
)
def test_older_post_processors_work_alike(tiny_bert: str, processor: object) -> None:
    tokenizer = load(tiny_bert)
    tokenizer.post_processor = processor
    pair = PairEncoder(tokenizer, 64, "tiny").encode(QUERY, ["the weather"]).pairs[0]
    expected = tokenizer.encode(QUERY, "the weather")
    assert pair.tolist() == [expected.ids, expected.type_ids]


def test_the_document_is_cut_and_the_query_is_not(tiny_model: str) -> None:
    tokenizer = load(tiny_model)
    documents = ["the weather is nice " * 20, "weather"]
    encoded = PairEncoder(load(tiny_model), 32, "tiny").encode(QUERY, documents)
    cut, whole = (pair[0].tolist() for pair in encoded.pairs)
    assert encoded.truncated == [True, False]
    assert len(cut) == 32
    query = tokenizer.encode(QUERY, add_special_tokens=False).ids
    assert cut[1 : 1 + len(query)] == query
    full = tokenizer.encode(QUERY, documents[0]).ids
    assert cut == [*full[:31], full[-1]]
    assert whole == tokenizer.encode(QUERY, "weather").ids


def test_a_query_that_leaves_no_room_is_an_error_with_its_numbers(tiny_bert: str) -> None:
    encoder = PairEncoder(load(tiny_bert), 32, "tiny")
    with pytest.raises(ValueError, match=r"query has 40 tokens and tiny reads 32.*shorten the query"):
        encoder.encode("key " * 40, ["weather"])


def test_a_query_may_leave_room_for_a_single_token(tiny_bert: str) -> None:
    encoded = PairEncoder(load(tiny_bert), 11, "tiny").encode(QUERY, ["the weather"])
    assert [len(pair[0]) for pair in encoded.pairs] == [11]
    with pytest.raises(ValueError, match="no room"):
        PairEncoder(load(tiny_bert), 10, "tiny").encode(QUERY, ["the weather"])


def test_query_and_documents_without_tokens_are_encoded(tiny_bert: str) -> None:
    encoder = PairEncoder(load(tiny_bert), 32, "tiny")
    assert [pair[0].tolist() for pair in encoder.encode("key", ["\x01"]).pairs] == [
        load(tiny_bert).encode("key", "").ids
    ]
    assert [pair[0].tolist() for pair in encoder.encode("\x01", ["key"]).pairs] == [
        load(tiny_bert).encode("", "key").ids
    ]


def test_truncation_and_padding_saved_with_the_tokenizer_are_switched_off(tiny_bert: str) -> None:
    tokenizer = Tokenizer.from_file(str(Path(tiny_bert, "tokenizer.json")))
    assert tokenizer.truncation is not None
    assert tokenizer.padding is not None
    PairEncoder(tokenizer, 64, "tiny")
    assert tokenizer.truncation is None
    assert tokenizer.padding is None


def test_a_tokenizer_that_separates_nothing_is_refused(tiny_bert: str) -> None:
    tokenizer = load(tiny_bert)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B", special_tokens=[("[CLS]", 2)]
    )
    with pytest.raises(UnsupportedModel, match=r"tiny sets no special token between.*use a cross-encoder"):
        PairEncoder(tokenizer, 64, "tiny")


def test_sixteen_threads_share_one_encoder_without_already_borrowed(tiny_bert: str, documents: list[str]) -> None:
    encoder = PairEncoder(load(tiny_bert), 64, "tiny")
    queries = [f"{QUERY} {number}" for number in range(200)]
    expected = [encoder.encode(query, documents[:5]).pairs for query in queries]
    with ThreadPoolExecutor(16) as threads:
        got = list(threads.map(lambda query: encoder.encode(query, documents[:5]).pairs, queries))
    assert [[pair.tolist() for pair in pairs] for pairs in got] == [
        [pair.tolist() for pair in pairs] for pairs in expected
    ]
