from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from ksdk_rerank.engines.encoding import PairEncoder

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
def test_older_post_processors_work_alike(tiny_bert: str, processor: Any) -> None:
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


def test_a_query_stays_whole_up_to_half_of_the_window_and_is_cut_to_that_beyond(tiny_model: str) -> None:
    whole, longer = "key " * 15 + "rotate", "key " * 15 + "rotate weather"
    encoder = PairEncoder(load(tiny_model), 32, "tiny")
    special = load(tiny_model).num_special_tokens_to_add(is_pair=True)
    (kept,), (cut,) = (encoder.encode(query, ["then " * 40]).pairs for query in (whole, longer))
    assert cut.tolist() == kept.tolist()
    full = load(tiny_model).encode(whole, "then " * 40)
    assert kept[0].tolist() == [*full.ids[:31], full.ids[-1]]
    assert [encoder.encode(query, ["then"]).query_truncated for query in (whole, longer)] == [False, True]
    assert [encoder.document_room(query) for query in ("key", whole, longer)] == [
        32 - 1 - special,
        16 - special,
        16 - special,
    ]


def test_a_long_query_is_read_like_its_start(tiny_model: str, tokenized: list[int]) -> None:
    encoder = PairEncoder(load(tiny_model), 32, "tiny")
    encoded = encoder.encode("then rotate the key " * 5_000, ["weather"])
    assert sum(tokenized) < 10_000
    assert encoded.query_truncated
    assert encoded.pairs[0].tolist() == encoder.encode("then rotate the key " * 50, ["weather"]).pairs[0].tolist()


def test_a_query_that_is_cut_is_told_once_and_not_quoted(tiny_bert: str, caplog: pytest.LogCaptureFixture) -> None:
    encoder = PairEncoder(load(tiny_bert), 32, "tiny")
    encoder.encode(QUERY, ["weather"])
    assert caplog.records == []
    for query in ("rotate " * 40, "invoice " * 40):
        encoder.encode(query, ["weather"])
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("ksdk_rerank", "WARNING")
    assert record.getMessage().startswith("tiny: a query was truncated to 16 tokens")
    assert "the model's 32" in record.getMessage()
    assert "rotate" not in record.getMessage()


def test_a_window_without_room_for_a_query_and_a_document_is_refused_with_the_least_that_works(
    tiny_model: str,
) -> None:
    least = load(tiny_model).num_special_tokens_to_add(is_pair=True) + 2
    for length in range(1, least):
        with pytest.raises(ValueError, match=rf"max_length: tiny would read {length} tokens.* pass at least {least}"):
            PairEncoder(load(tiny_model), length, "tiny")
    encoded = PairEncoder(load(tiny_model), least, "tiny").encode(QUERY, ["weather key"])
    assert [pair.shape[1] for pair in encoded.pairs] == [least]
    assert (encoded.truncated, encoded.query_truncated) == ([True], True)


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


def test_sixteen_threads_share_one_encoder_without_already_borrowed(tiny_bert: str, documents: list[str]) -> None:
    encoder = PairEncoder(load(tiny_bert), 64, "tiny")
    queries = [f"{QUERY} {number}" for number in range(200)]
    expected = [encoder.encode(query, documents[:5]).pairs for query in queries]
    with ThreadPoolExecutor(16) as threads:
        got = list(threads.map(lambda query: encoder.encode(query, documents[:5]).pairs, queries))
    assert [[pair.tolist() for pair in pairs] for pairs in got] == [
        [pair.tolist() for pair in pairs] for pairs in expected
    ]
