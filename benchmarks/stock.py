"""Rerankers of LangChain, LlamaIndex, fastembed and FlashRank, run on our models' weights.

Each reads a copy of `onnx/model.onnx`, the float32 graph, and keeps its own defaults for maximum length, truncation and
batch size. Only `top_n` is overridden, so that no document is dropped.

For LangChain and LlamaIndex, sentence-transformers loads the graph with Optimum.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from workload import SyncReranker

from ksdk_rerank import Reranker, ScoreKind, Scores

Ranker = Callable[[str, Sequence[str]], list[int]]
"""Takes a query and its documents; returns the documents' indices, best first."""
Wrappers = Mapping[str, Mapping[str, Reranker]]
"""For each of our rerankers' names, other libraries' rerankers with the same weights, by library."""


class Stock(SyncReranker):
    """Another library's reranker, which is loaded on first use."""

    score_kind = ScoreKind.LOGIT
    name = "stock"

    def __init__(self, load: Callable[[], Ranker]) -> None:
        self._load = cache(load)

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        order = self._load()(query, documents)
        assert sorted(order) == list(range(len(documents))), "a document is missing or repeated"
        return Scores([-float(order.index(index)) for index in range(len(documents))])


def wrappers(names: Sequence[str], scratch: Path) -> Wrappers:
    """The installed libraries' rerankers, for each name whose weights they can read. Prints what is missing."""
    installed: dict[str, Callable[[Path, Path], Ranker]] = {}
    for wrapper, (load, packages) in WRAPPERS.items():
        missing = [package for package in packages.split() if not _installed(package)]
        if missing:
            print(f"{wrapper}: skipped; pip install {' '.join(missing)}")
        else:
            installed[wrapper] = load
    found: dict[str, dict[str, Reranker]] = {}
    for name in names:
        source = Path(name)
        if (source / "onnx" / "model.onnx").is_file():
            home = scratch / str(len(found))
            found[name] = {wrapper: Stock(partial(load, source, home)) for wrapper, load in installed.items()}
        else:
            print(f"{source.name}: no onnx/model.onnx for other libraries to read, so they are left out")
    return found


def versions() -> dict[str, str]:
    """Versions of the installed packages that the wrappers need."""
    needed = {package for _, packages in WRAPPERS.values() for package in packages.split()} | {"transformers"}
    return {package: version(package) for package in sorted(needed) if _installed(package)}


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _langchain(source: Path, scratch: Path) -> Ranker:
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
    from langchain_community.cross_encoders import HuggingFaceCrossEncoder
    from langchain_core.documents import Document

    options = {"backend": "onnx", "device": "cpu"}
    model = HuggingFaceCrossEncoder(model_name=_copy(source, scratch / "langchain"), model_kwargs=options)

    def rank(query: str, documents: Sequence[str]) -> list[int]:
        compressor = CrossEncoderReranker(model=model, top_n=len(documents))
        given = [Document(text, id=str(index)) for index, text in enumerate(documents)]
        return [int(one.id or "") for one in compressor.compress_documents(given, query)]

    return rank


def _llamaindex(source: Path, scratch: Path) -> Ranker:
    from llama_index.core.schema import NodeWithScore, TextNode
    from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

    home = _copy(source, scratch / "llamaindex")
    reranker = SentenceTransformerRerank(model=home, device="cpu", cross_encoder_kwargs={"backend": "onnx"})

    def rank(query: str, documents: Sequence[str]) -> list[int]:
        reranker.top_n = len(documents)
        nodes = [NodeWithScore(node=TextNode(text=text, id_=str(index))) for index, text in enumerate(documents)]
        return [int(one.node.node_id) for one in reranker.postprocess_nodes(nodes, query_str=query)]

    return rank


def _fastembed(source: Path, scratch: Path) -> Ranker:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    name = f"local/{scratch.name}"  # fastembed registers models by name, process-wide
    TextCrossEncoder.add_custom_model(name, sources=ModelSource(hf=name), model_file="onnx/model.onnx")
    encoder = TextCrossEncoder(name, specific_model_path=_copy(source, scratch / "fastembed"))

    def rank(query: str, documents: Sequence[str]) -> list[int]:
        scores = list(encoder.rerank(query, documents))
        return sorted(range(len(scores)), key=lambda index: -scores[index])

    return rank


def _flashrank(source: Path, scratch: Path) -> Ranker:
    from flashrank import Ranker as FlashRank
    from flashrank import RerankRequest

    # FlashRank downloads nothing if the folder of a known model exists, so our model takes that name.
    _copy(source, scratch / "ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx")
    ranker = FlashRank("ms-marco-MiniLM-L-12-v2", cache_dir=str(scratch), log_level="ERROR")

    def rank(query: str, documents: Sequence[str]) -> list[int]:
        passages = [{"id": index, "text": text} for index, text in enumerate(documents)]
        return [one["id"] for one in ranker.rerank(RerankRequest(query=query, passages=passages))]

    return rank


WRAPPERS: dict[str, tuple[Callable[[Path, Path], Ranker], str]] = {
    "LangChain": (
        _langchain,
        "langchain-classic langchain-community sentence-transformers optimum-onnx onnxruntime",
    ),
    "LlamaIndex": (
        _llamaindex,
        "llama-index-postprocessor-sbert-rerank sentence-transformers optimum-onnx onnxruntime",
    ),
    "fastembed": (_fastembed, "fastembed"),
    "FlashRank": (_flashrank, "flashrank"),
}


def _copy(source: Path, home: Path, graph: str = "onnx/model.onnx") -> str:
    """Copy the model into `home` with complete settings, as transformers would have written them."""
    target = home / graph
    target.parent.mkdir(parents=True)
    shutil.copyfile(source / "onnx" / "model.onnx", target)
    for weights in (source / "onnx").glob("model.onnx?data"):  # the graph refers to this file by name
        shutil.copyfile(weights, target.parent / weights.name)
    shutil.copyfile(source / "tokenizer.json", home / "tokenizer.json")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    special = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs, **special}
    tokenizer["model_max_length"] = config["max_position_embeddings"]
    for name, content in {"tokenizer_config": tokenizer, "special_tokens_map": special, "config": config}.items():
        theirs = source / f"{name}.json"
        if name != "config" and theirs.is_file():
            shutil.copyfile(theirs, home / theirs.name)
        else:
            (home / theirs.name).write_text(json.dumps(content), encoding="utf-8")
    return str(home)
