import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.corpus import Corpus
from training.groups import CANDIDATES, MIXTURE, Groups, pack
from training.near_misses import NearMisses


def ids(tokenizer: Tokenizer, text: str) -> NDArray[np.uint16]:
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.uint16)


def rows(values: torch.Tensor, starts: torch.Tensor) -> list[list[int]]:
    return [row.tolist() for row in values.split(starts.diff().tolist())]


def test_near_misses_change_what_a_passage_says_and_hardly_its_words(tokenizer: Tokenizer) -> None:
    change, rng = NearMisses(tokenizer), np.random.default_rng(0)
    passage = ids(tokenizer, "river was of 1901")
    seen = {tokenizer.decode(change.of_passage(rng, passage).tolist()) for _ in range(200)}
    assert "river was not of 1901" in seen
    assert "river was of 1907" in seen
    assert not any("##" in name for name in seen)  # never a part of another number
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
        return rows(batch.pairs[0], batch.pair_starts)

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
        for number in np.concatenate([*groups.queries.values()]).tolist():
            units = [int(corpus.gold[number]), *groups._others(rng, number, int(corpus.gold[number]))]
            assert len(units) == CANDIDATES
            assert (corpus.held_out[units] == held_out).all()


def test_a_batch_has_each_pair_as_a_cross_encoder_reads_it_and_each_text_apart(
    corpus: Corpus, tokenizer: Tokenizer
) -> None:
    batch = Groups(corpus, tokenizer, held_out=False, size=2, seed=0)[0]
    pairs, texts = rows(batch.pairs[0], batch.pair_starts), rows(batch.texts[0], batch.text_starts)
    assert len(pairs) == 2 * CANDIDATES
    known = torch.tensor([(kind.similarity, kind.gold) for kind in MIXTURE.values()])
    assert [any(torch.equal(shares, kind) for kind in known) for shares in batch.shares] == [True, True]
    expected = []
    for group in (texts[: 1 + CANDIDATES], texts[1 + CANDIDATES :]):
        query, *passages = group
        expected += [query + passage[1:] for passage in passages]  # the pair has no [CLS] before the passage
    assert pairs == expected


def test_what_is_not_called_a_near_miss_stands_in_the_corpus_and_most_near_misses_do_not(
    corpus: Corpus, tokenizer: Tokenizer
) -> None:
    def joined(one: NDArray[np.uint16]) -> str:
        return f" {' '.join(map(str, one.tolist()))} "

    groups, sentences = Groups(corpus, tokenizer, held_out=False, size=1, seed=0), joined(corpus.sentences.ids)
    titles = ["", *{joined(corpus.titles[unit])[1:] for unit in range(len(corpus.kind))}]
    found: dict[bool, list[bool]] = {False: [], True: []}
    for step in range(100):
        _, passages, near_miss = groups._group(np.random.default_rng(step), "squad")
        last = joined(passages[-1])
        found[near_miss].append(
            any(last.startswith(f" {title}") and last[len(title) :] in sentences for title in titles)
        )
    assert all(found[False])
    assert np.mean(found[True]) < 0.5
    assert 10 < len(found[False]) < 30  # a fifth


def test_texts_are_packed_with_the_positions_and_types_that_a_tokenizer_gives_them(tokenizer: Tokenizer) -> None:
    pairs = [("the river", "was a lake"), ("village", "of 1901 and of 1902")]
    (found, positions, types), starts = pack([(ids(tokenizer, query), ids(tokenizer, text)) for query, text in pairs])
    encoded = [tokenizer.encode(query, passage) for query, passage in pairs]
    assert rows(found, starts) == [one.ids for one in encoded]
    assert rows(types, starts) == [one.type_ids for one in encoded]
    assert rows(positions, starts) == [list(range(len(one.ids))) for one in encoded]
    (found, positions, types), starts = pack([(ids(tokenizer, query),) for query, _ in pairs])
    assert rows(found, starts) == [tokenizer.encode(query).ids for query, _ in pairs]
    assert not types.any()


def test_a_pair_that_is_too_long_loses_the_end_of_its_passage(
    corpus: Corpus, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn() -> list[list[int]]:
        batch = Groups(corpus, tokenizer, held_out=False, size=4, seed=0)[0]
        return rows(batch.pairs[0], batch.pair_starts)

    whole = drawn()
    assert max(map(len, whole)) > 40
    monkeypatch.setattr("training.groups.LONGEST_PAIR", 40)
    assert drawn() == [row if len(row) <= 40 else [*row[:39], row[-1]] for row in whole]
