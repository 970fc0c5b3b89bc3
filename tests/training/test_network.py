"""What is exported scores pairs as the training does, which reads queries and documents apart."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from training.network import Comparison, CrossEncoder, Encoder, Head, States  # noqa: E402 - these need torch
from training.smooth import smooth  # noqa: E402

CLS, SEP, PAD = 1, 2, 0


@pytest.fixture
def model() -> CrossEncoder:
    torch.manual_seed(0)
    model = CrossEncoder(Encoder(vocabulary=50, layers=2), Head(), Comparison(), cls=CLS)
    model.encoder.function[[8, 20]] = True
    torch.nn.init.normal_(model.head.importance.weight)
    torch.nn.init.normal_(model.comparison.score.weight)
    return model.eval().requires_grad_(False)


def padded(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, texts))
    ids = torch.tensor([text + [PAD] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return ids, mask


def test_a_pair_scores_as_its_texts_do_when_they_are_read_apart(model: CrossEncoder) -> None:
    queries = [[CLS, 5, 6, SEP], [CLS, 7, SEP]]
    documents = [[CLS, 8, 9, 10, 5, SEP], [CLS, 6, SEP]]
    query = model.encoder.query(*padded(queries))
    document, _ = model.encoder.document(*padded(documents))
    added = model.comparison(query, document, model.head.importances(query))  # each query with its document
    apart = model.head.all_pairs(query, document).diagonal() + added

    ids, mask = padded([[*query, *document[1:]] for query, document in zip(queries, documents, strict=True)])
    types = torch.zeros_like(ids)
    for row, (query_ids, document_ids) in enumerate(zip(queries, documents, strict=True)):
        types[row, len(query_ids) : len(query_ids) + len(document_ids) - 1] = 1
    torch.testing.assert_close(model(ids, mask, types)[:, 0], apart, rtol=1e-4, atol=1e-4)


def test_padding_changes_no_score(model: CrossEncoder) -> None:
    pair = [CLS, 5, SEP, 8, 9, SEP]
    alone = torch.tensor([pair]), torch.ones(1, 6, dtype=torch.long), torch.tensor([[0, 0, 0, 1, 1, 1]])
    wider = [torch.nn.functional.pad(part, (0, 4)) for part in alone]
    torch.testing.assert_close(model(*wider), model(*alone), rtol=1e-4, atol=1e-4)


def test_function_words_are_kept_of_the_query_and_not_of_the_document(model: CrossEncoder) -> None:
    texts = [[CLS, 8, 9, 20, 5, SEP], [CLS, 6, 8, SEP]]
    assert model.encoder.query(*padded(texts)).mask.sum(1).tolist() == [6, 4]
    states, kept = model.encoder.document(*padded(texts))
    assert kept.take(padded(texts)[0])[0, :4].tolist() == [CLS, 9, 5, SEP]
    assert states.mask.sum(1).tolist() == [4, 3]


def test_what_a_function_word_says_is_read_by_its_neighbours(model: CrossEncoder) -> None:
    with_it, without = (model.encoder.document(*padded([[CLS, *words, SEP]]))[0] for words in ([9, 8], [9]))
    assert not torch.allclose(with_it.values[0, 1], without.values[0, 1], atol=1e-3)


def test_smoothing_moves_ranges_and_changes_no_score(model: CrossEncoder) -> None:
    down = model.encoder.feed_forward[0].down
    down.weight[:, 3] /= 100
    model.encoder.feed_forward[0].up.weight[3] *= 100
    smoothed = smooth(model, [[CLS, 8, 9, SEP], [CLS, 7, 5, 6, SEP]])
    pair = torch.tensor([[CLS, 5, SEP, 8, 9, SEP]]), torch.ones(1, 6, dtype=torch.long)
    types = torch.tensor([[0, 0, 0, 1, 1, 1]])
    torch.testing.assert_close(smoothed(*pair, types), model(*pair, types), rtol=1e-4, atol=1e-4)
    factor = smoothed.encoder.feed_forward[0].down.factor
    assert factor[3] < factor.median() / 10


def test_before_training_the_comparison_adds_nothing() -> None:
    states = States(torch.randn(1, 3, 384), torch.ones(1, 3))
    assert Comparison()(states, states, torch.full((1, 3), 1 / 3)).item() == 0
