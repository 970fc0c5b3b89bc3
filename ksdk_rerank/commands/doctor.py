"""`ksdk-rerank doctor`: what runs on this machine and how fast. Paste its output into a bug report."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

from ksdk_rerank._exports import exported
from ksdk_rerank._transport.connections import default_client
from ksdk_rerank._transport.environment import proxy_for, trust
from ksdk_rerank._version import __version__
from ksdk_rerank.base import with_members
from ksdk_rerank.commands.options import add_reranker, configured
from ksdk_rerank.engines.hardware import cores, has_bfloat16, has_gpu_driver, int8_kind
from ksdk_rerank.errors import InvalidEnvironment, RerankError, without_credentials
from ksdk_rerank.knowledgesdk.client import KEY_VARIABLES, KnowledgeSDKClient
from ksdk_rerank.loading import default_name, from_config, load_reranker, to_config
from ksdk_rerank.loading.registry import WITH_MODEL
from ksdk_rerank.rerankers._hosted import HostedReranker
from ksdk_rerank.rerankers._remote import RemoteReranker
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

__all__ = ["add"]

_PACKAGES = {
    "onnxruntime": "local",
    "openvino": "openvino",
    "torch": "torch",
    "sentence-transformers": "torch",
    "transformers": "torch",
    "langchain-core": "langchain",
    "llama-index-core": "llamaindex",
    "cohere": "cohere",
}
"""What reports depend on, and the extra that installs it."""

_INT8 = {"arm": "int8 (ARM)", "vnni": "int8 (VNNI)", "other": "int8 without VNNI"}
_HUB = "https://huggingface.co"
_SLOW = 500  # milliseconds

_QUESTION = "How do I rotate an API key?"
_DOCUMENTS = [
    f"Section {section}. To rotate an API key, create a second one, move your services over to it one by one, watch the"
    " audit log until nothing uses the first key, then revoke that. Owners and admins can do this; members cannot. The"
    " old key works for another day after it was revoked, so that caches expire. Write to support if it was leaked."
    for section in range(1, 21)
]


@dataclass(frozen=True, slots=True)
class _Run:
    """How one reranker did.

    Attributes:
        engine: which engine ran it and the file that it read; empty if it is not a local model.
        first: milliseconds for the first call, which loads the model; None if it was not called.
        next: milliseconds for 20 candidates after that.
        problem: why it cannot run, or was not called.
    """

    name: str
    engine: str = ""
    first: float | None = None
    next: float | None = None
    problem: str = ""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `doctor` command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="show what runs on this machine and how fast, for a bug report",
        description="Show what runs on this machine and how fast: versions, CPU, proxies, which API keys are set (never"
        " their values), and how long each reranker takes for 20 candidates.",
    )
    add_reranker(parser, "; can be repeated", action="append")
    parser.add_argument(
        "--online",
        action="store_true",
        help="also call the model hub, KnowledgeSDK and hosted rerankers, which may be billed",
    )
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from ksdk_rerank.commands.terminal import write_json

    packages = _packages()
    runs = [_tried(name, options.online) for name in options.reranker or [default_name()]]
    report = {
        "version": __version__,
        "machine": _machine(),
        "packages": packages,
        "keys": _keys(),
        "environment": list(_environment()),
        "rerankers": [asdict(run) for run in runs],
        "online": dict(_online()) if options.online else {},
        "advice": _advice(packages, runs),
    }
    if options.json:
        write_json(report)
    else:
        _show(report)
    return int(any(run.next is None for run in runs))


def _show(report: dict[str, Any]) -> None:
    from ksdk_rerank.commands.terminal import show, write

    machine = report["machine"]
    write(f"ksdk-rerank {report['version']}, Python {machine['python']}, {machine['system']}")
    write(f"{machine['cores']} cores for this process; {', '.join(machine['fast'])}; {machine['gpu']}")
    write()
    rows = [
        [name, version or f'missing: pip install "ksdk-rerank[{_PACKAGES[name]}]"']
        for name, version in report["packages"].items()
    ]
    show(["package", "version"], rows, texts={"package", "version"})
    write()
    write(f"Keys in the environment: {', '.join(report['keys']) or 'none'}")
    for line in report["environment"]:
        write(line)
    write()
    rows = [[run["name"], run["engine"] or "-", _ms(run["first"]), _ms(run["next"])] for run in report["rerankers"]]
    show(["reranker", "runs on", "first call, ms", "20 candidates, ms"], rows, texts={"reranker", "runs on"})
    for run in report["rerankers"]:
        if run["problem"]:
            write(f"{run['name']}: {run['problem']}")
    if report["online"]:
        write()
        show(["service", "answer"], list(map(list, report["online"].items())), texts={"service", "answer"})
    write()
    write(f"Advice: {report['advice']}")


def _machine() -> dict[str, Any]:
    fast = [_INT8[int8_kind()], *(["bfloat16"] if has_bfloat16() else [])]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "fast": fast,
        "gpu": "a GPU driver" if has_gpu_driver() else "no GPU driver",
    }


def _packages() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _keys() -> list[str]:
    """The names of the variables with a key; never their values."""
    hosted = (exported(name) for name in WITH_MODEL.values())
    variables = [variable for one in hosted for variable in cast("type[HostedReranker]", one)._key_variables]
    return [name for name in (*KEY_VARIABLES, *variables, "HF_TOKEN") if os.environ.get(name)]


def _environment() -> Iterator[str]:
    """The environment's settings that decide whether a service can be reached."""
    if proxy := proxy_for(_HUB):
        yield f"Proxy: {proxy}"
    if trusted := trust()[0]:
        yield f"Certificates: {trusted}"
    try:
        default_client("No service can be called")
    except InvalidEnvironment as error:
        yield f"Problem: {error}"


def _tried(name: str, online: bool) -> _Run:
    """Load a reranker and rank 20 documents with it, twice. Without `online`, nothing leaves this machine."""
    shown = without_credentials(name) if "://" in name else name
    try:
        reranker = load_reranker(configured(name))
        if not online:
            if any(isinstance(one, RemoteReranker) for one in with_members(reranker)):
                return _Run(shown, problem="a service, which is called only with --online")
            reranker = from_config(_offline(to_config(reranker)))
        with reranker:
            started = time.perf_counter()
            reranker.rank(_QUESTION, _DOCUMENTS[:1])
            loaded = time.perf_counter()
            reranker.rank(_QUESTION, _DOCUMENTS)
            done = time.perf_counter()
            models = [one for one in with_members(reranker) if isinstance(one, CrossEncoderReranker)]
            engine = "; ".join(" ".join(filter(None, (one.engine, one.engine_file))) for one in models)
    except (RerankError, ValueError, TypeError) as error:  # a TypeError: `to_config` cannot write it
        return _Run(shown, problem=str(error))
    return _Run(shown, engine, 1000 * (loaded - started), 1000 * (done - loaded))


def _offline(config: Any) -> Any:
    """A configuration whose local models come from this machine, never from the hub."""
    if isinstance(config, list):
        return list(map(_offline, config))
    if not isinstance(config, dict):
        return config
    changed = {name: _offline(value) for name, value in config.items()}
    if config.get("class") == "CrossEncoderReranker":
        changed["parameters"]["local_files_only"] = True
    return changed


def _online() -> Iterator[tuple[str, str]]:
    import httpx

    hub = os.environ.get("HF_ENDPOINT", _HUB)
    try:
        yield "model hub", f"HTTP {httpx.head(hub, timeout=10).status_code} from {without_credentials(hub)}"
    except Exception as error:  # an odd proxy may raise anything, and its words may quote a password
        yield "model hub", f"{type(error).__name__} from {without_credentials(hub)}"
    try:
        with KnowledgeSDKClient(timeout=10, retries=0) as client:
            yield "KnowledgeSDK", f"{len(client.search(_QUESTION, limit=1))} hits from {client.url}"
    except (RerankError, ValueError) as error:
        yield "KnowledgeSDK", str(error)


def _advice(packages: dict[str, str | None], runs: list[_Run]) -> str:
    if packages["onnxruntime"] is None:
        return 'to run a cross-encoder on this machine: pip install "ksdk-rerank[local]"'
    if failed := [run.name for run in runs if run.next is None]:
        return f"{', '.join(failed)} did not run; the reason is above"
    if slow := [run for run in runs if run.next is not None and run.next > _SLOW]:
        faster = ["rerank fewer"]
        if any(run.engine and "int" not in run.engine for run in slow):
            faster.append("write an int8 file (ksdk-rerank quantize)")
        names = ", ".join(run.name for run in slow)
        return f"{names}: over {_SLOW} ms for 20 candidates; {', or '.join(faster)}"
    return "none; every reranker runs"


def _ms(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.0f}"
