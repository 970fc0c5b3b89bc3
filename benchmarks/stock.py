"""Others' rerankers as they come, on the weights of one of ours: LangChain's, LlamaIndex's, fastembed's, FlashRank's.

Each reads a copy of `onnx/model.onnx`, the graph that calculates in floats, and keeps its own defaults: how long a pair
may be, where it is cut, and how many go at once. Only what would leave documents out, `top_n`, is theirs no more.

The embedded model's own `config.json` names a class that no other library knows. Its graph takes and gives what BERT's
does, so in the copy it goes by that name; sentence-transformers reads the graph by Optimum then, for both frameworks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ksdk_rerank

Ranker = Callable[[str, Sequence[str]], list[int]]
"""A query and its documents in, the documents' indices out, best first."""
Load = Callable[[], Ranker]
Wrappers = Mapping[str, Mapping[str, Load]]
"""What loads each wrapper, for each name that `ksdk_rerank.load_reranker` takes."""


def wrappers(names: Sequence[str], scratch: Path) -> Wrappers:
    """Those that are installed, for the names whose weights others can read; of the rest it prints what is missing."""
    installed: dict[str, Callable[[Path, Path], Ranker]] = {}
    for wrapper, (load, packages) in WRAPPERS.items():
        missing = [package for package in packages.split() if not _installed(package)]
        if missing:
            print(f"{wrapper}: skipped; pip install {' '.join(missing)}")
        else:
            installed[wrapper] = load
    found: dict[str, dict[str, Load]] = {}
    for name in names:
        source = Path(ksdk_rerank.__file__).parent / "models" / "embedded" if name == "embedded" else Path(name)
        if (source / "onnx" / "model.onnx").is_file():
            home = scratch / str(len(found))
            found[name] = {wrapper: cache(partial(load, source, home)) for wrapper, load in installed.items()}
        else:
            print(f"{source.name}: no onnx/model.onnx for others to read, so no stock wrappers")
    return found


def versions() -> dict[str, str]:
    """Of what the wrappers need, as far as it is installed."""
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

    name = f"local/{scratch.name}"  # they are registered by name, for all of the process
    TextCrossEncoder.add_custom_model(name, sources=ModelSource(hf=name), model_file="onnx/model.onnx")
    encoder = TextCrossEncoder(name, specific_model_path=_copy(source, scratch / "fastembed"))

    def rank(query: str, documents: Sequence[str]) -> list[int]:
        scores = list(encoder.rerank(query, documents))
        return sorted(range(len(scores)), key=lambda index: -scores[index])

    return rank


def _flashrank(source: Path, scratch: Path) -> Ranker:
    from flashrank import Ranker as FlashRank
    from flashrank import RerankRequest

    # It downloads nothing where the folder of one of its models is there; so ours goes by that name.
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
    """A copy of the model whose settings are complete, as transformers would have written them."""
    target = home / graph
    target.parent.mkdir(parents=True)
    shutil.copyfile(source / "onnx" / "model.onnx", target)
    for weights in (source / "onnx").glob("model.onnx?data"):  # the graph names the file beside it
        shutil.copyfile(weights, target.parent / weights.name)
    shutil.copyfile(source / "tokenizer.json", home / "tokenizer.json")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] == "ksdk-rerank-cross-encoder":
        config |= {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
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
