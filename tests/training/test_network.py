"""What is exported scores pairs as the training does, which reads queries and documents apart."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from training.bert import Rounded, States  # noqa: E402 - these need torch
from training.int8 import matrices, round_matrices, smooth  # noqa: E402
from training.network import FIRST, WHOLE, Comparison, CrossEncoder, Encoder, Head, Kept  # noqa: E402
from training.splade import ADDED, Splade  # noqa: E402

CLS, SEP, PAD = 1, 2, 0


@pytest.fixture
def model() -> CrossEncoder:
    torch.manual_seed(0)
    model = CrossEncoder(
        Encoder(vocabulary=50, layers=2), Head(), Comparison(), Splade(50, layers=2, expansions=40), cls=CLS
    )
    model.encoder.worth[[8, 20]] = -FIRST // 2
    model.encoder.worth[[CLS, SEP]] = FIRST // 2
    model.encoder.words = Rounded.of(torch.randn(50, 384))
    model.splade.words = Rounded.of(torch.randn(50, 128))
    model.splade.bias[PAD] = -100  # no text stands for it
    torch.nn.init.normal_(model.head.importance.weight)
    torch.nn.init.normal_(model.comparison.score.weight)
    model.requires_grad_(False)
    model.splade.look_among([[CLS, 5, 6, SEP]])
    return model.eval()


@pytest.fixture
def long_document() -> list[int]:
    return [CLS, *[8, 9, 10, 20, 5] * (WHOLE // 3 - 1), SEP]


def encode(model: CrossEncoder, texts: list[list[int]]) -> tuple[States, Kept]:
    ids, mask = padded(texts)
    return model.encoder.document(ids, mask, model.splade.said(ids, model.splade.states(ids, mask)))


def paired(queries: list[list[int]], documents: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids, mask = padded([[*query, *document[1:]] for query, document in zip(queries, documents, strict=True)])
    types = torch.zeros_like(ids)
    for row, (query, document) in enumerate(zip(queries, documents, strict=True)):
        types[row, len(query) : len(query) + len(document) - 1] = 1
    return ids, mask, types


def padded(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, texts))
    ids = torch.tensor([text + [PAD] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return ids, mask


def test_a_pair_scores_as_its_texts_do_when_they_are_read_apart(model: CrossEncoder, long_document: list[int]) -> None:
    queries = [[CLS, 5, 6, SEP], [CLS, 7, 7, 11, 12, SEP]]
    documents = [long_document, [CLS, 6, 8, SEP]]
    query = model.encoder.query(*padded(queries))
    document, _ = encode(model, documents)
    added = model.comparison(query, document, model.head.importances(query))  # each query with its document
    apart = (model.head.all_pairs(query, document) + model.splade.all_pairs(queries, documents)).diagonal() + added
    torch.testing.assert_close(model(*paired(queries, documents))[:, 0], apart, rtol=1e-4, atol=1e-4)


def test_a_query_that_is_the_same_in_all_pairs_scores_as_it_does_among_others(
    model: CrossEncoder, long_document: list[int]
) -> None:
    query, documents = [CLS, 5, 6, SEP], [long_document, [CLS, 6, 8, SEP]]
    same = model(*paired([query] * 2, documents))
    among = model(*paired([query, query, [CLS, 7, 7, 11, 12, SEP]], [*documents, documents[0]]))
    torch.testing.assert_close(same, among[:2], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(among[0], among[2], atol=1e-3)


def test_padding_changes_no_score(model: CrossEncoder) -> None:
    pair = [CLS, 5, SEP, 8, 9, SEP]
    alone = torch.tensor([pair]), torch.ones(1, 6, dtype=torch.long), torch.tensor([[0, 0, 0, 1, 1, 1]])
    wider = [torch.nn.functional.pad(part, (0, 4)) for part in alone]
    torch.testing.assert_close(model(*wider), model(*alone), rtol=1e-4, atol=1e-4)


def test_a_query_keeps_all_of_its_tokens(model: CrossEncoder, long_document: list[int]) -> None:
    assert model.encoder.query(*padded([long_document])).mask.sum() == len(long_document)


def test_function_words_go_first_from_a_long_document_and_special_tokens_last(
    model: CrossEncoder, long_document: list[int]
) -> None:
    states, kept = encode(model, [long_document])
    assert states.mask.sum() == WHOLE
    left = kept.take(torch.tensor([long_document]))[0, :WHOLE].tolist()
    assert {CLS, SEP} <= set(left)
    assert len([token for token in left if token in (8, 20)]) == WHOLE - len(
        [token for token in long_document if token not in (8, 20)]
    )


def test_half_of_a_very_long_document_is_kept(model: CrossEncoder, long_document: list[int]) -> None:
    states, _ = encode(model, [long_document * 2])
    assert states.mask.sum() == len(long_document) > WHOLE


def test_of_words_that_are_no_function_words_those_stay_that_the_document_stands_for(model: CrossEncoder) -> None:
    document = [CLS, *range(21, 49), *range(21, 49), *range(21, 49), SEP]
    ids, mask = padded([document])
    said = model.splade.said(ids, model.splade.states(ids, mask))
    _, kept = model.encoder.document(ids, mask, said)
    stayed = torch.zeros(len(document), dtype=torch.bool)
    stayed[kept.places[0]] = True
    assert stayed.sum() == WHOLE
    assert said[0, 1:-1][stayed[1:-1]].min() >= said[0, 1:-1][~stayed[1:-1]].max() - 0.001


@pytest.mark.parametrize("asked", [22, 35, 48])
def test_of_a_pair_the_words_that_the_query_says_stay(
    model: CrossEncoder, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = [CLS, *range(21, 49), *range(21, 49), *range(21, 49), SEP]
    kept: list[Kept] = []
    read = model.encoder.document

    def watched(*arguments: torch.Tensor) -> tuple[States, Kept]:
        states, which = read(*arguments)
        kept.append(which)
        return states, which

    monkeypatch.setattr(model.encoder, "document", watched)
    model(*paired([[CLS, asked, SEP]], [document]))
    stayed = kept[0].take(torch.tensor([document]))[0].tolist()
    assert stayed.count(asked) == 3


def test_a_short_document_keeps_all_of_its_tokens(model: CrossEncoder, long_document: list[int]) -> None:
    short = [*long_document[: WHOLE - 1], SEP]
    states, _ = encode(model, [short, long_document])
    assert states.mask.sum(1).tolist() == [WHOLE, WHOLE]


def test_what_a_function_word_says_is_read_by_its_neighbours(model: CrossEncoder, long_document: list[int]) -> None:
    changed = [20 if token == 8 else token for token in long_document]
    here, there = (encode(model, [text])[0] for text in (long_document, changed))
    assert not torch.allclose(here.values[0, 0], there.values[0, 0], atol=1e-3)  # [CLS]; which others stay may differ


def test_smoothing_moves_ranges_and_changes_no_score(model: CrossEncoder) -> None:
    down = model.encoder.feed_forward[0].down
    down.weight[:, 3] /= 100
    model.encoder.feed_forward[0].up.weight[3] *= 100
    smoothed = smooth(model, [([CLS, 8, SEP], [CLS, 8, 9, SEP]), ([CLS, 12, SEP], [CLS, 7, 5, 6, SEP])])
    pair = torch.tensor([[CLS, 5, SEP, 8, 9, SEP]]), torch.ones(1, 6, dtype=torch.long)
    types = torch.tensor([[0, 0, 0, 1, 1, 1]])
    torch.testing.assert_close(smoothed(*pair, types), model(*pair, types), rtol=1e-4, atol=1e-4)
    factor = smoothed.encoder.feed_forward[0].down.factor
    assert factor[3] < factor.median() / 10


def test_rounding_leaves_few_values_and_twice_is_once(model: CrossEncoder) -> None:
    round_matrices(model)
    down = model.encoder.feed_forward[0].down.weight
    assert max(len(row.unique()) for row in down) <= 129
    once = [weight.clone() for weight in matrices(model)]
    round_matrices(model)
    for now, before in zip(matrices(model), once, strict=True):
        torch.testing.assert_close(now, before, rtol=1e-5, atol=1e-7)


def test_the_last_layers_stay_floats(model: CrossEncoder) -> None:
    kept = model.head.importance.weight.clone(), model.splade.transform.weight.clone()
    round_matrices(model)
    assert torch.equal(model.head.importance.weight, kept[0])
    assert torch.equal(model.splade.transform.weight, kept[1])


def test_before_training_the_comparison_adds_nothing() -> None:
    states = States(torch.randn(1, 3, 384), torch.ones(1, 3))
    assert Comparison()(states, states, torch.full((1, 3), 1 / 3)).item() == 0


def test_rounded_embeddings_are_within_half_a_step_of_what_they_were() -> None:
    weight = torch.randn(7, 64) * torch.tensor([[0.1], [1.0], [1.0], [3.0], [1.0], [1.0], [1.0]])
    rounded = Rounded.of(weight)
    assert rounded.packed.shape == (7, 32)
    back = rounded(torch.arange(7))
    assert (back - weight).norm() / weight.norm() < 0.11
    torch.testing.assert_close(rounded(torch.tensor([[3, 0]])), back[[3, 0]][None])


def test_rounding_twice_changes_nothing() -> None:
    once = Rounded.of(torch.randn(5, 32))(torch.arange(5))
    torch.testing.assert_close(Rounded.of(once)(torch.arange(5)), once, rtol=0, atol=0.02)


def test_each_word_of_a_query_counts_once(model: CrossEncoder) -> None:
    ids, mask = padded([[CLS, 7, 7, 7, SEP]])
    values = model.splade.states(ids, mask).values
    terms = model.splade.terms(ids, States(values.abs() * 9, mask.float()))
    assert terms.weights[0, 2:4].tolist() == [0, 0]


def test_words_that_a_query_says_are_not_added_to_it(model: CrossEncoder) -> None:
    ids, mask = padded([list(range(50 - ADDED, 50)), [CLS, 7, SEP]])
    terms = model.splade.terms(ids, model.splade.states(ids, mask))
    added, weights = terms.ids[:, ids.shape[1] :], terms.weights[:, ids.shape[1] :]
    assert not (torch.isin(added[0], ids[0]) & (weights[0] > 0)).any()
    assert not (torch.isin(added[1], torch.tensor([CLS, 7, SEP])) & (weights[1] > 0)).any()
    assert (weights > 0).any(1).all()


def test_words_are_looked_for_among_those_that_queries_stand_for(model: CrossEncoder) -> None:
    model.splade.expand = torch.nn.Linear(128, ADDED).requires_grad_(False)
    model.splade.expansions = torch.zeros(ADDED, dtype=torch.long)
    model.splade.look_among([[CLS, 5, 6, SEP]])
    found = set(model.splade.expansions.tolist())
    assert len(found) == ADDED
    assert not found & {CLS, 5, 6, SEP}  # what is said need not be looked for
    torch.testing.assert_close(model.splade.expand.weight, model.splade.words(model.splade.expansions))
