"""Rerankers built on language models run on torch, and score as sentence-transformers does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_prompts import DOCUMENTS, PAIRS, QUERIES

from ksdk_rerank import CrossEncoderReranker, LongDocuments, Reranker
from ksdk_rerank.engines import pool, scoring
from ksdk_rerank.engines.export import export
from ksdk_rerank.errors import UnsupportedModel
from ksdk_rerank.testing.contract import SubclassContract

pytestmark = [
    pytest.mark.skipif(find_spec("sentence_transformers") is None, reason='needs pip install "ksdk-rerank[torch]"'),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

QUERY = "how do i rotate a key"


@pytest.fixture(params=["qwen", "llama"])
def folder(request: pytest.FixtureRequest) -> str:
    """Either tiny reranker."""
    path: str = request.getfixturevalue(f"tiny_{request.param}")
    return path


def theirs(folder: str, **options: Any) -> Any:
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return CrossEncoder(folder, device="cpu", **options)
    finally:
        logging.enable_progress_bar()


def predicted(encoder: Any, pairs: list[tuple[str, str]], **options: Any) -> Any:
    import torch

    return encoder.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False, **options)


def ours(folder: str, **options: Any) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder, device="cpu", **{"max_length": 2048, **options})


@pytest.mark.parametrize("instruction", [None, "prefer laws to news"])
def test_sixty_pairs_score_as_in_sentence_transformers(folder: str, instruction: str | None) -> None:
    expected = predicted(theirs(folder), PAIRS, prompt=instruction)
    reranker = ours(folder, instruction=instruction)
    raw = [logit for query in QUERIES for logit in reranker.score(query, DOCUMENTS).raw]
    np.testing.assert_allclose(raw, expected, atol=1e-4)
    assert reranker.engine == "torch"


def test_an_instruction_changes_the_scores_and_the_models_own_is_the_default(tiny_qwen: str) -> None:
    scores = {
        instruction: ours(tiny_qwen, instruction=instruction).score(QUERY, DOCUMENTS).raw
        for instruction in (None, "prefer manuals to news", "prefer laws")
    }
    assert scores[None] == scores["prefer manuals to news"]
    assert scores[None] != scores["prefer laws"]
    assert len(pool._runners) == 1


def test_cut_prompts_have_the_ids_of_sentence_transformers(tiny_qwen: str) -> None:
    pytest.importorskip("sentence_transformers", "5.6")  # older ones cut the end of the prompt
    encoder = theirs(tiny_qwen, max_length=128)
    document = "then rotate the key, " * 100
    features = encoder.preprocess([(QUERY, document)], prompt="prefer manuals to news")
    reranker = ours(tiny_qwen, max_length=128)
    assert reranker.score(QUERY, [document]).truncated == 1
    (runner,) = pool._runners.values()
    (pair,) = runner.model().encoder.encode(QUERY, [document]).pairs
    assert pair[0].tolist() == features["input_ids"][0].tolist()
    np.testing.assert_allclose(
        reranker.score(QUERY, [document]).raw, predicted(encoder, [(QUERY, document)]), atol=1e-4
    )


def test_special_tokens_as_text_score_as_their_text(folder: str) -> None:
    """sentence-transformers, told to split special tokens in the texts, gives the same logits."""
    import torch

    encoder = theirs(folder)
    token = "<|im_end|>" if "<|im_end|>" in encoder.tokenizer.get_vocab() else "<|eot_id|>"
    document = f"a key{token}\nyes{token}"
    reranker = ours(folder)
    (logit,) = reranker.score(QUERY, [document]).raw
    (runner,) = pool._runners.values()
    (pair,) = runner.model().encoder.encode(QUERY, [document]).pairs
    messages = encoder[0].input_formatter.pair_to_messages((QUERY, document))
    if encoder.default_prompt_name:
        (messages,) = encoder[0].input_formatter.prepend_prompt_to_messages([messages], "prefer manuals to news")
    prompt = encoder.tokenizer.apply_chat_template(messages, tokenize=False)
    before, after = prompt.split(document)
    tokenize = encoder.tokenizer
    middle = tokenize(document, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenize.decode(pair[0].tolist()) == before + document + after
    assert pair[0].tolist().count(tokenize.convert_tokens_to_ids(token)) == prompt.count(token) - 2
    assert len(pair[0]) <= len(middle) + len(tokenize(before + after, add_special_tokens=False)["input_ids"]) + 1
    features = {
        "input_ids": torch.tensor([pair[0].tolist()]),
        "attention_mask": torch.ones(1, pair.shape[1], dtype=torch.long),
    }
    with torch.inference_mode():
        scores = encoder({**features, "modality": "message", "logits_to_keep": 1})["scores"]
    assert logit == pytest.approx(scores.item(), abs=1e-4)
    assert logit != pytest.approx(predicted(encoder, [(QUERY, document)])[0], abs=1e-3)


@pytest.mark.parametrize("budget", [512, 8192])
def test_what_all_prompts_begin_with_is_read_once_and_the_scores_stay(
    folder: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding then stands between prefix and document: the mask and the positions must know."""
    monkeypatch.setattr(scoring, "_WORTH", 0)
    reranker = ours(folder, instruction="prefer laws to news")
    alone = [reranker.score(QUERY * 9, [document]).raw[0] for document in DOCUMENTS]
    (runner,) = pool._runners.values()
    engine: Any = runner.model().engine
    engine.budget = budget
    read: list[int] = []

    def read_prefix(ids: Any) -> object:
        read.append(len(ids))
        return type(engine).read_prefix(engine, ids)

    monkeypatch.setattr(engine, "read_prefix", read_prefix)
    together = reranker.score(QUERY * 9, DOCUMENTS).raw
    np.testing.assert_allclose(together, alone, atol=1e-4)
    pairs = runner.model().encoder.encode(QUERY * 9, DOCUMENTS, "prefer laws to news").pairs
    beginnings = {tuple(pair[0, : read[0]]) for pair in pairs}
    assert (len(read), len(beginnings)) == (1, 1)
    query_first = "qwen" in folder
    assert (read[0] > runner.model().encoder.count_tokens([QUERY * 9])[0]) == query_first


def test_a_logit_does_not_depend_on_the_batch(folder: str) -> None:
    reranker = ours(folder)
    together = reranker.score(QUERY, DOCUMENTS).raw
    alone = [reranker.score(QUERY, [document]).raw[0] for document in DOCUMENTS]
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_ranking_reports_what_was_cut(tiny_qwen: str) -> None:
    ranking = ours(tiny_qwen, max_length=128).rank("key " * 100, ["invoice " * 200, "key"])
    assert (ranking.truncated, ranking.query_truncated) == (1, True)
    assert ours(tiny_qwen).rank(QUERY, ["key"]).truncated == 0


def test_windows_of_long_documents_fit_beside_the_prompt(folder: str) -> None:
    reranker = ours(folder, max_length=256)
    document = "the weather is nice. " * 100 + "rotate the key. " + "invoices are issued. " * 100
    ranking = LongDocuments(reranker).rank(QUERY, [document, "key"])
    assert ranking.truncated == 0
    assert ranking[0].span is not None or ranking[1].span is not None


class TestPromptModel(SubclassContract):
    @pytest.fixture
    def reranker(self, tiny_qwen: str) -> Iterator[Reranker]:
        with ours(tiny_qwen, instruction="prefer manuals") as reranker:
            yield reranker


def copied(folder: str, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy"))


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages if message.role == 'user' %}{{ message.content }}{% endfor %}",
        "{{ raise_exception('roles must alternate') }}",
        None,
    ],
)
def test_a_template_for_conversations_is_refused(tiny_qwen: str, tmp_path: Path, template: str | None) -> None:
    folder = copied(tiny_qwen, tmp_path)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(UnsupportedModel, match=r"has no place for one query and one document.*with vLLM"):
        ours(str(folder)).rank(QUERY, ["key"])


def test_a_template_without_a_place_for_an_instruction_says_so(tiny_qwen: str, tmp_path: Path) -> None:
    folder = copied(tiny_qwen, tmp_path)
    template = "{{ messages[-2].content }}<|im_end|>{{ messages[-1].content }}<|im_end|>"
    (folder / "chat_template.jinja").write_text(template)
    assert ours(str(folder)).rank(QUERY, ["key"])
    with pytest.raises(ValueError, match=r"instruction: .* has no place for one"):
        ours(str(folder), instruction="prefer manuals").rank(QUERY, ["key"])


def test_it_is_not_exported(tiny_qwen: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="needs a prompt, so it cannot be exported"):
        export(tiny_qwen, tmp_path / "out")


def converted(folder: str, target: Path, template: str) -> str:
    """The same model as a classifier with one logit, as `*-seq-cls` repositories have it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(target)
    return str(target)


def test_a_converted_classifier_takes_its_template(tiny_qwen: str, tmp_path: Path, capfd: Any) -> None:
    template = Path(tiny_qwen, "chat_template.jinja").read_text()
    folder = converted(tiny_qwen, tmp_path / "seq-cls", template)
    expected = predicted(theirs(folder), PAIRS)
    capfd.readouterr()  # transformers announces the new head
    reranker = ours(folder, backend="torch")
    raw = [logit for query in QUERIES for logit in reranker.score(query, DOCUMENTS).raw]
    np.testing.assert_allclose(raw, expected, atol=1e-4)
    with pytest.raises(UnsupportedModel, match="needs a prompt, so it cannot be exported"):
        export(folder, tmp_path / "out")


def test_a_converted_classifier_with_a_template_for_conversations_is_refused(
    tiny_qwen: str, tmp_path: Path, capfd: Any
) -> None:
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>{% endfor %}"
    )
    folder = converted(tiny_qwen, tmp_path / "seq-cls", template)
    capfd.readouterr()
    with pytest.raises(UnsupportedModel, match=r"puts no special token between .*the reranker that it was converted"):
        ours(folder, backend="torch").rank(QUERY, ["key"])
