"""First calls start no process, look up no other host and write no file (promise 15).

Each engine runs in its own process, without `CI`, which switches telemetry off, and with an empty home folder. Python's
audit events report what the code does. What engines do in C++ shows in the files they leave behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from ksdk_rerank.testing import KnowledgeSDKStandIn, LocalServer, Reply, Request

AUDITED = """
import os
import sys

started, asked, written = [], [], []
PROCESSES = ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.connect", "socket.sendto")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "shutil.copyfile")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


def audit(event, arguments):
    if event in PROCESSES:
        started.append(f"{event} {arguments}")
    elif event in LOOKUPS:
        host = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        host = host[0] if isinstance(host, tuple) else host
        asked.append(host.decode() if isinstance(host, bytes) else host)
    elif event in CHANGES or event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        if not isinstance(arguments[0], int):  # a number is an open file, such as standard output
            written.append(os.fspath(arguments[0]))


import _posixsubprocess

fork_exec = _posixsubprocess.fork_exec  # of multiprocessing, which raises no audit event
_posixsubprocess.fork_exec = lambda *arguments: started.append(f"fork_exec {arguments[0]}") or fork_exec(*arguments)
environment = dict(os.environ)
sys.addaudithook(audit)
import ksdk_rerank as k

server, search, folder = sys.argv[1:4]


def ranked(reranker):
    for _ in range(2):
        assert len(reranker.rank("the key", ["invoice", "key", "key"])) == 3
    import asyncio

    asyncio.run(reranker.arank("the key", ["invoice", "key"]))
    asyncio.run(reranker.aclose())
    reranker.close()


exec(sys.argv[4])
import gc
import json
import threading
import time

gc.collect()
time.sleep(0.3)  # for work left to a thread
changed = [name for name in {**environment, **os.environ} if environment.get(name) != os.environ.get(name)]
print(json.dumps([started, sorted(set(asked)), sorted(set(map(str, written))), changed]))
"""

COMPRESSOR = """
from langchain_core.documents import Document
from langchain_ksdk_rerank import RerankCompressor

for reranker in ("lexical", "embedded"):
    compressor = RerankCompressor(reranker=reranker, top_n=2)
    for _ in range(2):
        documents = [Document(page_content=text) for text in ("a", "key")]
        assert len(compressor.compress_documents(documents, "the key")) == 2
"""
POSTPROCESSOR = """
from llama_index.core.schema import NodeWithScore, TextNode
from llamaindex_ksdk_rerank import RerankPostprocessor

for reranker in ("lexical", "embedded"):
    postprocessor = RerankPostprocessor(reranker=reranker, top_n=2)
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in ("a", "key")]
    for _ in range(2):
        assert len(postprocessor.postprocess_nodes(nodes, query_str="the key")) == 2
"""
LOCAL = """
import ksdk_rerank.evaluation, ksdk_rerank.testing

ranked(k.load_reranker('lexical'))
ranked(k.load_reranker('embedded'))
ranked(k.CrossEncoderReranker('embedded', backend='onnx'))
ranked(k.Cached(k.LongDocuments(k.Cascade('lexical', 'embedded', keep=2))))
from ksdk_rerank.commands.main import main

assert main(['rank', 'key', folder + '/config.json']) == 0
"""
SERVICES = """
assert asked == [], asked  # everything before this was local
ranked(k.TEIReranker(server))
ranked(k.TEIReranker(server.replace('127.0.0.1', 'localhost')))
ranked(k.JinaReranker(base_url=server, api_key='test-key'))
ranked(k.CohereReranker(base_url=server, api_key='test-key'))
client = k.KnowledgeSDKClient('sk_test', base_url=search)
client.search('key')
client.close()
from ksdk_rerank.commands.main import main

assert main(['demo']) == 0
"""
CASES = {  # the code, and a module without which the case is skipped
    "all but other engines": (LOCAL + COMPRESSOR + POSTPROCESSOR + SERVICES, "cohere"),
    "openvino": ("ranked(k.CrossEncoderReranker(folder, backend='openvino'))", "openvino"),
    "torch": ("ranked(k.CrossEncoderReranker(folder, backend='torch'))", "sentence_transformers"),
}


def answer(request: Request) -> Reply:
    body = json.loads(request.body)
    if "texts" in body:
        return Reply.json([{"index": index, "score": 0.5} for index in range(len(body["texts"]))])
    results = [{"index": index, "relevance_score": 0.5} for index in range(len(body["documents"]))]
    return Reply.json({"id": "1", "results": results, "usage": {"total_tokens": 1}})


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with (
        LocalServer(answer) as reranking,
        KnowledgeSDKStandIn(Path("examples/knowledge_base"), api_key="sk_test") as search,
    ):
        yield reranking.url, search.base_url


def run(program: list[str], home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python as on a user's machine: no `CI`, and all the user's folders are below `home`."""
    theirs = ("CI", "ORT_", "XDG_", "HF_", "TORCHINDUCTOR", "PYTEST")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home), "TMPDIR": str(home)}
    environment |= {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, *program]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("case", CASES)
def test_a_first_call_starts_no_process_asks_no_other_host_and_writes_no_file(
    case: str, servers: tuple[str, str], tiny_bert: str, tmp_path: Path
) -> None:
    code, needs = CASES[case]
    if find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    done = run(["-c", AUDITED, *servers, tiny_bert, code], tmp_path)
    assert done.returncode == 0, done.stderr
    started, asked, written, changed = json.loads(done.stdout.splitlines()[-1])
    left = {path.name for path in tmp_path.iterdir()}
    if case == "torch":  # its import tests the temporary folder, creates its compiler's cache there and sets variables
        written = [path for path in written if Path(path).parent != tmp_path]
        left = {name for name in left if not name.startswith("torchinductor_")}
        changed = [name for name in changed if not name.startswith(("KMP_", "TORCHINDUCTOR_"))]
    if version("numpy").startswith("1."):  # numpy.testing, which langchain-core imports, asks for the processor
        started = [process for process in started if "lscpu" not in process]
    assert started == []
    assert set(asked) <= ({"127.0.0.1", "localhost"} if code.endswith(SERVICES) else set())
    assert [path for path in written if path != os.devnull] == []
    assert left == set()
    assert changed == []


@pytest.mark.skipif(find_spec("openvino") is None, reason='needs pip install "ksdk-rerank[openvino]"')
def test_openvino_and_its_telemetry_are_whole_for_the_user_afterwards(tiny_bert: str, tmp_path: Path) -> None:
    code = """if True:
        import sys
        from ksdk_rerank import CrossEncoderReranker
        CrossEncoderReranker(sys.argv[1], backend="openvino").rank("key", ["key"])
        import openvino, openvino_telemetry
        assert callable(openvino.convert_model) and callable(openvino_telemetry.Telemetry)
        import openvino_telemetry.backend
        print(openvino.Core().available_devices)
    """
    done = run(["-c", code, tiny_bert], tmp_path)
    assert (done.stdout, done.stderr) == ("['CPU']\n", "")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_script_without_a_main_guard_runs_once_under_the_start_method_spawn(
    tiny_bert: str, tmp_path: Path, backend: str
) -> None:
    if find_spec("onnxruntime" if backend == "onnx" else backend) is None:
        pytest.skip(f"needs {backend}")
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\n"
        "import threading\n"
        "multiprocessing.set_start_method('spawn')\n"
        "print('begins')\n"
        "from ksdk_rerank import CrossEncoderReranker\n"
        f"reranker = CrossEncoderReranker({tiny_bert!r}, backend={backend!r})\n"
        "threads = [threading.Thread(target=reranker.rank, args=('key', ['key'])) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "print('ends')\n"
    )
    done = run([str(script)], tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("begins\nends\n", "", 0)


def test_the_environment_is_as_before_however_many_load_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from ksdk_rerank.engines.telemetry import without_telemetry

    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    before = dict(os.environ)
    barrier = threading.Barrier(8)
    seen = []

    def load(number: int) -> None:
        barrier.wait()
        for _ in range(200):
            with without_telemetry():
                seen.append((os.environ["ORT_DISABLE_TELEMETRY"], os.environ["DISABLE_SAFETENSORS_CONVERSION"]))

    threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {("1", "true")}
    assert dict(os.environ) == before
