"""Children of a process whose threads are busy: none may wait for a lock that only the parent can give back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ksdk_rerank.testing import LocalServer, Reply, Request

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PROGRAM = """
import asyncio
import os
import signal
import sys
import threading
import time
import warnings

import ksdk_rerank as k
from ksdk_rerank.evaluation import DiskStore

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: forking with threads
name, children, url, folder, store = sys.argv[1:]
reranker = {
    "lexical": lambda: k.LexicalReranker(),
    "cached": lambda: k.Cached("lexical", max_entries=50),
    "cached lists": lambda: k.Cached(k.Cascade("lexical", "lexical", keep=2), max_entries=50),
    "stored": lambda: k.Cached("lexical", store=DiskStore(store)),
    "windows": lambda: k.LongDocuments(k.Cached("lexical")),
    "deduplicated": lambda: k.Deduplicated("lexical"),
    "local": lambda: k.CrossEncoderReranker(folder, backend="onnx"),
    "tei": lambda: k.TEIReranker(url),
}[name]()
documents = ["the key " * n for n in range(1, 9)]


def asked(number):
    return len(reranker.rank(f"the key {number}", documents))


def awaited(number):
    return len(asyncio.run(reranker.arank(f"the key {number}", documents)))


expected = asked(0), awaited(0)


def hammer(start):
    for number in range(start, 1_000_000, 4):
        awaited(number % 60) if number % 5 == 0 else asked(number % 60)


for start in range(4):
    threading.Thread(target=hammer, args=(start,), daemon=True).start()
failed, running = 0, []
for number in range(int(children)):
    child = os.fork()
    if not child:
        signal.alarm(20)
        right = (asked(number % 70), awaited(number % 70 + 1)) == expected
        os._exit(0 if right else 1)
    running.append(child)
    if len(running) == 10 or number == int(children) - 1:
        failed += sum(os.waitpid(child, 0)[1] != 0 for child in running)
        running.clear()
print(failed)
sys.stdout.flush()
os._exit(0)
"""


def answer(request: Request) -> Reply:
    return Reply.json([{"index": index, "score": 0.5} for index in range(len(json.loads(request.body)["texts"]))])


@pytest.mark.parametrize(
    ("name", "children"),
    [
        ("lexical", 50),
        ("cached", 150),
        ("cached lists", 150),
        ("stored", 50),
        ("windows", 50),
        ("deduplicated", 50),
        ("tei", 30),
        ("local", 20),
    ],
)
def test_every_child_of_a_busy_process_gets_its_answers(
    name: str, children: int, tiny_bert: str, tmp_path: Path
) -> None:
    with LocalServer(answer) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, name, str(children), server.url, tiny_bert, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TOKENIZERS_PARALLELISM": "false"},
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert (done.stdout, done.stderr) == ("0\n", "")
