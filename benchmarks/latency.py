"""Time to rerank 50 candidates of about 125 tokens: our engines, and other libraries' with the same weights.

    python benchmarks/latency.py [--rounds 7] [--budgets] [--output NAME]

The rerankers of LangChain, LlamaIndex, sentence-transformers, FlashRank and fastembed take part if they are installed.
All read at most 512 tokens. The tokens that each model gets are counted, so that no library wins by truncating. The
libraries alternate. `processor_s` is the time on all cores together, which is more reliable than the clock on a shared
machine.

FlashRank and fastembed read the files that `export` wrote, so they too calculate the last layer for one token.

The share of the matrix limit makes figures from different machines comparable. It is the operations that the pairs need
without padding, per second, over those of a large matrix product in the same number format, which takes turns with the
libraries (`matrix_limit.py`). `of_limit` is from the fastest call of each, `of_limit_by_processor` from processor time.

`--budgets` compares token budgets per batch instead. `tests/test_benchmarks.py` holds the library's own to the results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matrix_limit import OPERATIONS, operations, products
from workload import QUERY, SyncReranker, kendall, model_folder, table, take_turns, texts, write

from ksdk_rerank import CrossEncoderReranker, ScoreKind, Scores
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.onnx_graph import read_graph
from ksdk_rerank.models import folder_of

OURS = {
    "openvino bfloat16": ("openvino", {"backend": "openvino"}),
    "openvino float32": ("openvino", {"backend": "openvino", "dtype": "float32"}),
    "onnx int8": ("onnxruntime", {"backend": "onnx", "dtype": "int8"}),
    "onnx float32": ("onnxruntime", {"backend": "onnx", "dtype": "float32"}),
    "torch float32": ("sentence_transformers", {"backend": "torch", "dtype": "float32"}),
    "torch bfloat16": ("sentence_transformers", {"backend": "torch", "dtype": "bfloat16"}),
}
EMBEDDED = {"embedded, onnx int8": ("onnxruntime", {"model": "embedded"})}
"""The bundled model. Its weights are not those that the others run, so no ratios are computed for it."""
BUDGETS = (1, 128, 256, 512, 768, 1024, 2048, 4096)
Call = Callable[[], Sequence[float]]
"""Reranks the documents; returns one score per document, in input order."""


class Tokens:
    """Counts the tokens that go into a model: `all` of them, and each pair's without padding in `lengths`."""

    def __init__(self) -> None:
        self.all = 0
        self.lengths: list[int] = []

    def count(self, mask: Any) -> None:
        self.all += mask.size if isinstance(mask.size, int) else mask.numel()
        self.lengths += mask.sum(1).tolist()


def ours(folder: str, tokens: dict[str, Tokens], documents: list[str]) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for name, (package, options) in (OURS | EMBEDDED).items():
        if find_spec(package) is None:
            continue
        reranker = CrossEncoderReranker(**({"model": folder} | options))  # type: ignore[arg-type]
        count(reranker, tokens.setdefault(name, Tokens()))
        calls[name] = lambda reranker=reranker: reranker.score(QUERY, documents).raw  # type: ignore[misc]
    return calls


def count(reranker: CrossEncoderReranker, tokens: Tokens) -> None:
    engine = reranker._runner()._loaded().engine
    forward = engine.forward

    def counting(batch: Batch) -> Any:
        tokens.count(batch.mask)
        return forward(batch)

    engine.forward = counting  # type: ignore[method-assign]


def peers(folder: str, tokens: dict[str, Tokens], documents: list[str], scratch: str) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    where = {document: position for position, document in enumerate(documents)}

    def watch(name: str, encoder: Any) -> None:
        counter = tokens.setdefault(name, Tokens())
        encoder[0].register_forward_pre_hook(lambda _, given: counter.count(given[0]["attention_mask"]))

    def watch_session(name: str, session: Any) -> Any:
        counter = tokens.setdefault(name, Tokens())

        class Session:
            def run(self, outputs: Any, given: dict[str, Any], *rest: Any) -> Any:
                counter.count(given["attention_mask"])
                return session.run(outputs, given, *rest)

            def __getattr__(self, attribute: str) -> Any:
                return getattr(session, attribute)

        return Session()

    if find_spec("sentence_transformers"):
        from sentence_transformers import CrossEncoder

        encoder = CrossEncoder(folder, max_length=512, device="cpu")
        name = "sentence-transformers CrossEncoder.predict"
        watch(name, encoder)
        pairs = [(QUERY, document) for document in documents]
        calls[name] = lambda: [float(score) for score in encoder.predict(pairs, show_progress_bar=False)]
    if find_spec("langchain_community") and find_spec("langchain_classic"):
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker as LangChains
        from langchain_community.cross_encoders import HuggingFaceCrossEncoder
        from langchain_core.documents import Document

        options = {"max_length": 512, "device": "cpu"}
        hugging_face = HuggingFaceCrossEncoder(model_name=folder, model_kwargs=options)
        name = "LangChain CrossEncoderReranker"
        watch(name, hugging_face.client)
        compressor = LangChains(model=hugging_face, top_n=len(documents))
        given = [Document(document) for document in documents]

        def langchain() -> list[float]:
            order = [where[one.page_content] for one in compressor.compress_documents(given, QUERY)]
            return [-float(order.index(position)) for position in range(len(documents))]

        calls[name] = langchain
    if find_spec("llama_index") and find_spec("sentence_transformers"):
        from llama_index.core.postprocessor import SentenceTransformerRerank
        from llama_index.core.schema import NodeWithScore, TextNode

        reranker = SentenceTransformerRerank(model=folder, top_n=len(documents), device="cpu", trust_remote_code=False)
        name = "LlamaIndex SentenceTransformerRerank"
        watch(name, reranker._model)

        def llamaindex() -> list[float]:
            nodes = [NodeWithScore(node=TextNode(text=document), score=0.0) for document in documents]
            found = reranker.postprocess_nodes(nodes, query_str=QUERY)
            scores = {where[node.text]: float(node.score or 0) for node in found}
            return [scores[position] for position in range(len(documents))]

        calls[name] = llamaindex
    if find_spec("flashrank"):
        from flashrank import Ranker, RerankRequest

        for kind, file in (("float32", "model.onnx"), ("int8", "model_qint7.onnx")):
            # FlashRank downloads nothing if the folder of a known model exists, so our model takes that name.
            home = Path(scratch, f"flashrank-{kind}", "ms-marco-MiniLM-L-12-v2")
            copy(folder, home, file, "flashrank-MiniLM-L-12-v2_Q.onnx")
            ranker = Ranker("ms-marco-MiniLM-L-12-v2", cache_dir=str(home.parent), max_length=512, log_level="ERROR")
            name = f"FlashRank {kind}"
            ranker.session = watch_session(name, ranker.session)

            def flashrank(ranker: Any = ranker) -> list[float]:
                passages = [{"id": position, "text": document} for position, document in enumerate(documents)]
                found = ranker.rerank(RerankRequest(query=QUERY, passages=passages))
                scores = {passage["id"]: float(passage["score"]) for passage in found}
                return [scores[position] for position in range(len(documents))]

            calls[name] = flashrank
    if find_spec("fastembed"):
        from fastembed.common.model_description import ModelSource
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        for kind, file in (("float32", "model.onnx"), ("int8", "model_qint7.onnx")):
            home = Path(scratch, f"fastembed-{kind}")
            copy(folder, home, file, f"onnx/{file}")
            TextCrossEncoder.add_custom_model(
                model=f"local/{kind}", sources=ModelSource(hf=f"local/{kind}"), model_file=f"onnx/{file}"
            )
            fastembed = TextCrossEncoder(f"local/{kind}", specific_model_path=str(home))
            name = f"fastembed {kind}"
            inner: Any = fastembed.model
            inner.model = watch_session(name, inner.model)
            calls[name] = lambda fastembed=fastembed: list(fastembed.rerank(QUERY, documents))  # type: ignore[misc]
    return calls


def copy(folder: str, home: Path, file: str, name: str) -> None:
    (home / name).parent.mkdir(parents=True)
    shutil.copyfile(Path(folder, "onnx", file), home / name)
    for each in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if Path(folder, each).exists():
            shutil.copyfile(Path(folder, each), home / each)


class Instant(SyncReranker):
    """A reranker that takes almost no time, which isolates the adapters' overhead."""

    score_kind = ScoreKind.LOGIT
    name = "instant"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([float(len(document) % 17) for document in documents])


def adapters(documents: list[str]) -> dict[str, float]:
    """CPU milliseconds that each adapter adds to the core, when all documents are returned."""
    core = Instant()
    calls: dict[str, Callable[[], object]] = {"core": lambda: core.rank(QUERY, documents)}
    if find_spec("langchain_core"):
        from langchain_core.documents import Document

        from langchain_ksdk_rerank import RerankCompressor

        compressor = RerankCompressor(core, top_n=None)
        given = [Document(document) for document in documents]
        calls["RerankCompressor"] = lambda: compressor.compress_documents(given, QUERY)
    if find_spec("llama_index"):
        from llama_index.core.schema import NodeWithScore, TextNode

        from llamaindex_ksdk_rerank import RerankPostprocessor

        postprocessor = RerankPostprocessor(reranker=core, top_n=None)
        nodes = [NodeWithScore(node=TextNode(text=document), score=0.5) for document in documents]
        calls["RerankPostprocessor"] = lambda: postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    taken = take_turns(calls, 200)
    return {name: round(1000 * (took["processor_s"] - taken["core"]["processor_s"]), 2) for name, took in taken.items()}


def budgets(folder: str, rounds: int, output: str) -> None:
    calls: dict[str, Callable[[], object]] = {}
    wanted = ("openvino bfloat16", "onnx int8", "onnx float32")
    for name, budget in itertools.product((name for name in wanted if find_spec(OURS[name][0])), BUDGETS):
        options = {"model": folder, "max_length": 512 - budget // 128} | OURS[name][1]
        reranker = CrossEncoderReranker(**options)  # type: ignore[arg-type]
        engine = reranker._runner()._loaded().engine
        engine.budget = budget  # not shared, as `max_length` differs
        kind = read_graph(Path(folder) / str(engine.file)).quantization
        seeds = itertools.count()  # new lengths each time, so OpenVINO compiles again
        calls[f"{name}, {kind}, {budget}"] = lambda reranker=reranker, seeds=seeds: reranker.score(  # type: ignore[misc]
            QUERY, texts(50, seed=next(seeds))
        )
    taken = take_turns(calls, rounds)
    table([["", "median s", "fastest s", "processor s"], *([name, *took.values()] for name, took in taken.items())])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, took in taken.items():
        engine_and_kind, _, tokens = name.rpartition(", ")
        found.setdefault(engine_and_kind, {})[tokens] = took
    write(output, {"candidates": 50, "seconds": found})


def shares_of_limit(
    name: str, lengths: Sequence[int], took: Mapping[str, float], limits: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """How much of the matrix limit of its number format a row reaches, by the clock and by the processor."""
    number_format = next((each for each in ("int8", "bfloat16") if each in name), "float32")
    if number_format not in limits:
        return {}
    folder = folder_of("embedded" if name in EMBEDDED else model_folder())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    exported = name.startswith(("embedded", "onnx", "openvino", "fastembed", "FlashRank"))
    work = operations(config, lengths, last_layer_whole=not exported)
    return {
        share: round(work / took[seconds] / limits[number_format][seconds], 3)
        for share, seconds in (("of_limit", "fastest_s"), ("of_limit_by_processor", "processor_s"))
    }


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed calls of each kind")
    parser.add_argument("--budgets", action="store_true", help="compare values for the token budget instead")
    parser.add_argument("--output", help="JSON file in results/, without .json; default: latency, or budgets")
    options = parser.parse_args()
    folder, documents = model_folder(), texts(50)
    if options.budgets:
        budgets(folder, options.rounds, options.output or "budgets")
        return
    tokens: dict[str, Tokens] = {}
    with tempfile.TemporaryDirectory() as scratch:
        calls = ours(folder, tokens, documents) | peers(folder, tokens, documents, scratch)
        scores = {name: call() for name, call in calls.items()}
        lengths = {name: list(each.lengths) for name, each in tokens.items()}
        padding = {name: each.all - sum(each.lengths) for name, each in tokens.items()}
        limited = products()
        taken = take_turns({**calls, **limited}, options.rounds)
    limits = {name: {clock: OPERATIONS / took for clock, took in taken.pop(name).items()} for name in limited}
    taken = dict(sorted(taken.items(), key=lambda item: item[1]["median_s"]))
    exact = scores["onnx float32"]
    rows: dict[str, dict[str, float]] = {}
    for name, took in taken.items():
        share = shares_of_limit(name, lengths[name], took, limits)
        rows[name] = {**took, "tokens": sum(lengths[name]), "padding": padding[name], **share}
        if name not in EMBEDDED:
            rows[name]["kendall_tau"] = round(kendall(scores[name], exact), 4)
        if name in OURS:
            rows[name]["max_difference"] = round(max(abs(a - b) for a, b in zip(scores[name], exact, strict=True)), 6)
    added = adapters(documents)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table([["", *columns], *([name, *(row.get(column, "-") for column in columns)] for name, row in rows.items())])
    best = next(name for name in rows if name in OURS)
    ratios = {}
    for one in dict.fromkeys((best, "openvino bfloat16", "onnx int8", "onnx float32")):
        if one in rows:
            ratios[one] = {
                name: {kind: round(row[kind] / taken[one][kind], 2) for kind in ("median_s", "processor_s")}
                for name, row in taken.items()
                if name not in OURS and name not in EMBEDDED
            }
    for one, by_peer in ratios.items():
        if "of_limit" in rows[one]:
            reached = f"{rows[one]['of_limit']} ({rows[one]['of_limit_by_processor']})"
            print(f"\n{one}, share of the matrix limit by the clock (by the processor): {reached}")
        print(f"{one}, times as fast by the clock (by the processor) as")
        for name, by in by_peer.items():
            print(f"  {name}: {by['median_s']} ({by['processor_s']})")
    tera = {name: round(rates["fastest_s"] / 1e12, 3) for name, rates in limits.items()}
    print("\nmatrix limit, in 10^12 operations per second:", json.dumps(tera))
    print("milliseconds that adapters add to the core, 50 documents:", json.dumps(added))
    figures = {"candidates": 50, "rounds": options.rounds, "seconds": rows, "times_as_fast": ratios}
    write(options.output or "latency", {**figures, "limit_tera_ops": tera, "adapters_add_ms": added})


if __name__ == "__main__":
    main()
