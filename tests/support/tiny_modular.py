"""A tiny modular cross-encoder on ModernBERT, saved by sentence-transformers itself, with seeded random weights.

Its tokenizer is the embedded model's, so it has a real vocabulary.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ksdk_rerank.models import EMBEDDED, folder_of

HIDDEN, POSITIONS, LOCAL = 32, 320, 16
"""Width, window, and how many tokens a local attention layer sees: far fewer than most texts have."""

QUERIES = (
    "how do I rotate an API key?",
    "密钥轮换",
    "?",
    "Wie oft werden Schlüssel erneuert",
    "invoice [SEP] month",
    "a b",
)
DOCUMENTS = (
    "Create a second key, move your services over, then revoke the first.",
    "Invoices are sent on the first day of each month. " * 9,
    "The old key still works for another 24 hours after a rotation, then it is refused. " * 40,  # beyond the window
    "a",
    ".",
    "?!",
    "[CLS] key [SEP] key [SEP] [PAD] [MASK]",
    "Schlüssel werden jede Nacht erneuert, Köln übernimmt das.",
    "密钥每晚轮换一次。旧密钥再保留一周。",
    "مفتاح جديد كل ليلة 🔑",
)


def save_modular(
    folder: Path,
    *,
    positions: int = POSITIONS,
    pooling: str = "cls",
    activation: str = "GELU",
    residual: bool = False,
    labels: int = 1,
) -> Path:
    """A ModernBERT with the head of the ettin rerankers: Pooling, Dense, LayerNorm, Dense with the output "scores"."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder_of(EMBEDDED) / "tokenizer.json"),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=positions,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "cls_token_id", "sep_token_id")}
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=positions,
        local_attention=LOCAL,
        bos_token_id=ids["cls_token_id"],
        eos_token_id=ids["sep_token_id"],
        **ids,
    )
    torch.manual_seed(7)
    ModernBertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    options = {"use_residual": True} if residual else {}  # sentence-transformers 5.4 has no such argument
    head = [
        Dense(HIDDEN, HIDDEN, activation_function=getattr(torch.nn, activation)(), **options),
        LayerNorm(HIDDEN),
        Dense(HIDDEN, labels, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    model = CrossEncoder(modules=[Transformer(str(folder)), Pooling(HIDDEN, pooling), *head], device="cpu")
    for weights in model.parameters():  # those of a new model are so small that all pairs would score alike
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, 0, 0.25)
    model.save_pretrained(str(folder))
    return folder


def save_encoder_as_onnx(folder: Path) -> None:
    """Write `onnx/model.onnx` as sentence-transformers' own export does: the first module only."""
    import torch
    from transformers import AutoModel

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager")

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.model(input_ids, attention_mask).last_hidden_state
            return hidden

    inputs = {"input_ids": torch.tensor([[2, 5, 6], [2, 5, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    sizes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("sequence", min=1)}
    (folder / "onnx").mkdir()
    torch.onnx.export(
        Encoder().eval(),
        (),
        folder / "onnx/model.onnx",
        kwargs=inputs,
        input_names=list(inputs),
        output_names=["last_hidden_state"],
        dynamic_shapes=dict.fromkeys(inputs, sizes),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def expected_logits(folder: Path | str) -> list[float]:
    """What sentence-transformers says of all `QUERIES` with all `DOCUMENTS`."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu")
    pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]
    scores = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return [float(score) for score in scores.reshape(-1)]  # 5.4 returns a column for a modular model


@pytest.fixture(scope="session")
def tiny_modular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny modular cross-encoder: 320 positions, local attention of 16 tokens, safetensors only."""
    pytest.importorskip("sentence_transformers", "5.4")
    return save_modular(tmp_path_factory.mktemp("tiny") / "modular")
