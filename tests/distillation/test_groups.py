import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distillation.corpus import Corpus
from distillation.groups import CANDIDATES, WIDTHS, Groups, buckets
from distillation.near_misses import NearMisses


def ids(tokenizer: Tokenizer, text: str) -> NDArray[np.uint16]:
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.uint16)


def test_near_misses_change_what_a_passage_says_and_hardly_its_words(tokenizer: Tokenizer) -> None:
    change, rng = NearMisses(tokenizer), np.random.default_rng(0)
    passage = ids(tokenizer, "river was of 1901")
    seen = {tokenizer.decode(change.of_passage(rng, passage).tolist()) for _ in range(200)}
    assert "river was not of 1901" in seen
    assert "river was of 1907" in seen
    assert "1901 was of river" in seen
    negative = ids(tokenizer, "river was not of lake")
    assert "river was of lake" in {tokenizer.decode(change.of_passage(rng, negative).tolist()) for _ in range(50)}
    query = ids(tokenizer, "what was river ?")
    seen = {tokenizer.decode(change.of_query(rng, query).tolist()) for _ in range(200)}
    assert {"what was river ?", "this page is not about what was river.", "see elsewhere for river was."} & seen
    assert tokenizer.decode(change.keywords(ids(tokenizer, "what was the river of lake")).tolist()) == "river lake"


def test_a_batch_is_the_same_for_the_same_seed_and_step(corpus: Corpus, tokenizer: Tokenizer) -> None:
    def drawn(seed: int, step: int) -> list[list[int]]:
        batch = Groups(corpus, tokenizer, held_out=False, size=4, seed=seed)[step]
        return [row.tolist() for bucket in batch for row in bucket.ids]

    assert drawn(3, 5) == drawn(3, 5)
    assert drawn(3, 5) != drawn(3, 6)
    assert drawn(3, 5) != drawn(4, 5)


def test_held_out_groups_share_no_text_with_the_others(corpus: Corpus, tokenizer: Tokenizer) -> None:
    assert 0 < corpus.held_out.sum() < len(corpus.held_out)
    found = corpus.lexical[corpus.lexical >= 0]
    gold = np.repeat(corpus.gold, (corpus.lexical >= 0).sum(1))
    assert (corpus.held_out[found] == corpus.held_out[gold]).all()
    assert (found != gold).all()
    for held_out in (False, True):
        groups = Groups(corpus, tokenizer, held_out, size=1, seed=0)
        rng = np.random.default_rng(0)
        for number in np.concatenate(groups.queries).tolist():
            units = [int(corpus.gold[number]), *groups._others(rng, number, int(corpus.gold[number]))]
            assert len(units) == CANDIDATES
            assert (corpus.held_out[units] == held_out).all()


def test_pairs_are_cut_to_a_few_lengths_and_never_padded(corpus: Corpus, tokenizer: Tokenizer) -> None:
    batch = Groups(corpus, tokenizer, held_out=False, size=8, seed=0)[0]
    places = torch.cat([bucket.places for bucket in batch])
    assert sorted(places.tolist()) == list(range(8 * CANDIDATES))
    for bucket in batch:
        assert bucket.ids.shape[1] in WIDTHS
        assert (bucket.ids[:, 0] == 101).all()
        assert (bucket.ids[:, -1] == 102).all()
        assert (bucket.ids != 0).all()
        assert (bucket.ids.gather(1, bucket.second[:, None] - 1) == 102).all()  # what stands before the document


def test_a_pair_loses_only_the_end_of_its_document() -> None:
    query, passage = np.array([7, 8], np.uint16), np.array([11, 12, 13, 14, 15], np.uint16)
    (bucket,) = buckets([(query, passage)], np.zeros(1))  # 3 + 2 + 5 = 10, and the next lower length is 8
    assert bucket.ids.tolist() == [[101, 7, 8, 102, 11, 12, 13, 102]]
    assert bucket.second.tolist() == [4]


def test_a_document_much_shorter_than_its_query_keeps_a_token() -> None:
    (bucket,) = buckets(
        [(np.arange(200, 207, dtype=np.uint16), np.array([11], np.uint16))], np.zeros(1)
    )  # 3 + 7 + 1 = 11, cut to 8
    assert bucket.ids.tolist() == [[101, 200, 201, 202, 203, 102, 11, 102]]
    assert bucket.second.tolist() == [6]
