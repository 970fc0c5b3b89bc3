"""Rerankers that other packages register: real distributions, with metadata, on the import path."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import (
    Cascade,
    CrossEncoderReranker,
    Fallback,
    LexicalReranker,
    from_config,
    load_reranker,
    to_config,
)
from ksdk_rerank.commands.main import main
from ksdk_rerank.errors import PluginError
from ksdk_rerank.loading import registry

SOURCE = '''
from ksdk_rerank import Reranker, ScoreKind, Scores, ScoringReranker


class AcmeReranker(ScoringReranker):
    """Prefers long documents."""

    score_kind = ScoreKind.LOGIT

    def __init__(self, model, *, factor=1.0):
        if model == "wrong":
            raise ValueError("acme has no model 'wrong'")
        if model == "broken":
            raise KeyError("weights")
        self.model = model
        self.factor = factor

    @property
    def name(self):
        return f"acme:{self.model}"

    def score(self, query, documents):
        return Scores([self.factor * len(document) for document in documents])

    async def ascore(self, query, documents):
        return self.score(query, documents)


class Plain(AcmeReranker):
    def __init__(self):
        super().__init__("plain")


def by_url(url="http://localhost"):
    return AcmeReranker(url, factor=2.0)


def nothing():
    return None


class Unfinished(Reranker):
    pass


ANSWER = 42
'''

ENTRIES = {
    "acme": "acme_rerank.reranker:AcmeReranker",
    "acme-plain": "acme_rerank.reranker:Plain",
    "acme-url": "acme_rerank.reranker:by_url",
}

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution that registers `entries`, as pip would lay it out."""
    (tmp_path / "acme_rerank").mkdir()
    (tmp_path / "acme_rerank" / "__init__.py").touch()
    (tmp_path / "acme_rerank" / "reranker.py").write_text(SOURCE)
    (tmp_path / "acme_rerank" / "broken.py").write_text("import acme_dependency_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("acme_rerank", "acme_rerank.reranker"):  # leave nothing behind
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)

    def installed(distribution: str = "acme-rerank", entries: dict[str, str] = ENTRIES) -> None:
        metadata = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[ksdk_rerank.rerankers]", *lines, ""]))

    registry._warn_of_clash.cache_clear()
    return installed


def said_of(name: str, error: type[Exception] = PluginError) -> str:
    with pytest.raises(error) as caught:
        load_reranker(name)
    return str(caught.value)


def test_a_name_reaches_the_class_with_what_follows_the_colon(install: Install) -> None:
    install()
    reranker: Any = load_reranker(" acme: large/v2#x ")
    assert (type(reranker).__name__, reranker.model) == ("AcmeReranker", "large/v2#x")
    assert reranker.rank("q", ["a", "aaa", "aa"]).indices == (1, 2, 0)
    assert load_reranker("acme-plain").name == "acme:plain"
    assert load_reranker("acme-url").name == "acme:http://localhost"
    assert load_reranker("acme-url:http://host:80#model").name == "acme:http://host:80#model"


def test_it_works_wherever_a_name_does(install: Install) -> None:
    install()
    assert Fallback(["acme:x", "lexical"]).rank("q", ["a", "aa"]).reranked_by == "acme:x"
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from langchain_ksdk_rerank import RerankCompressor

    documents = [Document(page_content=text) for text in ("a", "aaa")]
    (best,) = RerankCompressor("acme:x", top_n=1).compress_documents(documents, "q")
    assert (best.page_content, best.metadata["reranked_by"]) == ("aaa", "acme:x")


def test_a_llamaindex_postprocessor_takes_it_and_writes_it(install: Install) -> None:
    install()
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from llamaindex_ksdk_rerank import RerankPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a", "aaa")]
    for reranker in ("acme:x", load_reranker("acme:x")):
        postprocessor = RerankPostprocessor(reranker=reranker, top_n=1)
        for each in (postprocessor, RerankPostprocessor.from_dict(json.loads(json.dumps(postprocessor.to_dict())))):
            (best,) = each.postprocess_nodes(nodes, query_str="q")
            assert (best.node.get_content(), best.node.metadata["reranked_by"]) == ("aaa", "acme:x")


def test_a_configuration_names_the_entry_point_and_reads_it_back(install: Install) -> None:
    install()
    acme = load_reranker("acme:x")
    config = to_config(Cascade(LexicalReranker(), type(acme)("y", factor=3.0)))  # type: ignore[call-arg]
    assert json.loads(json.dumps(config))["parameters"]["second"] == {
        "class": "acme",
        "parameters": {"model": "y", "factor": 3.0},
    }
    assert repr(from_config(config)) == "Cascade(first=LexicalReranker(), second=AcmeReranker(model='y', factor=3.0))"
    assert from_config({"class": "acme-url"}).name == "acme:http://localhost"  # a function can be read, not written
    assert load_reranker({"class": "Fallback", "parameters": {"rerankers": ["acme:x"]}}).name == "fallback(acme:x)"


@pytest.mark.parametrize("name", ["acme_rerank.reranker.AcmeReranker", "acme_rerank.reranker:AcmeReranker", "os"])
def test_a_configuration_imports_nothing_by_path(name: str, install: Install) -> None:
    install()
    with pytest.raises(ValueError, match=r"use one of: .*LexicalReranker.*, acme, acme-plain"):
        from_config({"class": name, "parameters": {"model": "x"}})
    assert "acme_rerank" not in sys.modules


def test_a_class_that_is_not_registered_has_no_written_form(install: Install) -> None:
    install(entries={"acme-url": ENTRIES["acme-url"], "broken": "acme_rerank.broken:Any"})
    with pytest.raises(TypeError, match=r"AcmeReranker is neither .* register it as an entry point"):
        to_config(load_reranker("acme-url"))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("acme", "'acme' needs a model; write acme:MODEL"),
        ("acme:", "'acme' needs a model; write acme:MODEL"),
        ("acme-url: ", "'acme-url' needs a model; write acme-url:MODEL"),
        ("acme-plain:x", "acme-plain takes no model; write acme-plain"),
        ("acme:wrong", "acme has no model 'wrong'"),
        ("amce:x", "did you mean 'acme:x'?"),
        ("Acme-Plain", "did you mean 'acme-plain'?"),
        ("nothing-like-it", ", acme[:MODEL] (from acme-rerank), "),
    ],
)
def test_a_wrong_name_gets_advice(name: str, advice: str, install: Install) -> None:
    install()
    assert advice in said_of(name, ValueError)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("bad", "acme_rerank.broken:Any", "acme_rerank.broken:Any cannot be imported (ModuleNotFoundError: No module"),
        ("bad", "acme_rerank.reranker:Missing", "cannot be imported (AttributeError: "),
        ("bad", "acme_rerank.reranker:ANSWER", "neither a complete Reranker class nor a function that returns"),
        ("bad", "acme_rerank.reranker:Unfinished", "neither a complete Reranker class nor a function that returns"),
        ("bad", "builtins:dict", "neither a complete Reranker class nor a function that returns"),
        ("bad", "acme_rerank.reranker:nothing", "returned NoneType, not a Reranker"),
        ("bad:broken", "acme_rerank.reranker:AcmeReranker", "failed (KeyError: 'weights')"),
    ],
)
def test_a_broken_entry_point_names_its_package_and_breaks_no_other_name(
    name: str, value: str, problem: str, install: Install
) -> None:
    install("bad-rerank", {"bad": value})
    install()
    said = said_of(name)
    assert said.startswith("bad-rerank registers a reranker named 'bad', but ")
    assert problem in said
    assert said.endswith("; update bad-rerank, or uninstall it")
    assert to_config(load_reranker("acme-plain")) == {"class": "acme-plain", "parameters": {}}
    assert load_reranker("lexical").name == "lexical"


def test_a_name_of_two_packages_is_refused_and_both_are_named(install: Install) -> None:
    install()
    install("other-rerank", {"acme": "acme_rerank.reranker:Plain", "other": "acme_rerank.reranker:Plain"})
    assert said_of("acme:x") == (
        "acme-rerank and other-rerank register the same reranker name, 'acme'; uninstall all but one of them"
    )
    assert load_reranker("other").name == "acme:plain"


def test_our_own_names_cannot_be_taken_over(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    taken = ("lexical", "cohere", "tei", "embedded", "LexicalReranker")
    install(entries=ENTRIES | dict.fromkeys(taken, "acme_rerank.reranker:Plain"))
    assert isinstance(load_reranker("lexical"), LexicalReranker)
    assert isinstance(from_config({"class": "LexicalReranker"}), LexicalReranker)
    assert not caplog.messages
    for _ in range(2):
        assert to_config(load_reranker("acme-plain")) == {"class": "acme-plain", "parameters": {}}
    assert sorted(caplog.messages) == [
        f"acme-rerank registers a reranker named {name!r}, which is ksdk-rerank's own name; it is ignored"
        for name in sorted(taken)
    ]


@pytest.mark.parametrize(
    "name", ["lexical", "tei:http://localhost:80", "some-org/model", "./acme", "embedded", {"class": "LexicalReranker"}]
)
def test_our_own_names_do_not_scan_the_installed_packages(
    name: Any, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()

    def scanned(**_: object) -> None:
        raise AssertionError("the installed packages were scanned")

    monkeypatch.setattr("importlib.metadata.entry_points", scanned)
    assert to_config(load_reranker(name))


def test_a_registered_name_goes_before_a_folder_and_a_path_does_not(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    (tmp_path / "acme-plain").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_reranker("acme-plain").name == "acme:plain"
    assert isinstance(load_reranker("./acme-plain"), CrossEncoderReranker)


def test_metadata_that_cannot_be_read_is_told_and_breaks_no_other_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def unreadable(**_: object) -> None:
        raise TypeError("a malformed line")

    monkeypatch.setattr("importlib.metadata.entry_points", unreadable)
    caplog.set_level(logging.WARNING)
    monkeypatch.chdir(tmp_path.parent)
    assert isinstance(load_reranker(tmp_path.name), CrossEncoderReranker)
    assert "entry points cannot be read (a malformed line)" in caplog.text
    assert "use one of" in said_of("acme:x", ValueError)


def test_the_commands_take_it_and_list_it(install: Install, tmp_path: Path) -> None:
    """In a process of its own, as a user runs it."""
    install()
    (tmp_path / "documents").write_text("a\naaa\n")
    command = [sys.executable, "-W", "error", "-m", "ksdk_rerank", "rank", "q", str(tmp_path / "documents"), "-"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*command, "--reranker", "acme:x", "--json"], env=environment, input="a\naaa\n", capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["reranked_by"] == "acme:x"


@pytest.mark.parametrize("command", ["demo", "search", "rank", "compare"])
def test_the_help_of_a_command_lists_it(command: str, install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install()
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "acme[:MODEL] (from acme-rerank)" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_name_on_the_command_line_is_met_with_the_list(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    assert main(["rank", "q", __file__, "--reranker", "amce:x"]) == 1
    assert "did you mean 'acme:x'?" in capsys.readouterr().err


def test_compare_takes_it_and_a_broken_one_is_only_a_row(install: Install) -> None:
    pytest.importorskip("ir_measures")
    from ksdk_rerank import SearchHit
    from ksdk_rerank.evaluation import evaluate

    install(entries=ENTRIES | {"broken": "acme_rerank.broken:Any"})
    hits = [SearchHit("1", "a"), SearchHit("2", "aaa")]
    acme, broken = evaluate(["acme:x", "broken"], {"q": "text"}, {"q": hits}, {"q": {"2": 1}}, ["P@1"]).rerankers
    assert acme.metrics["P@1"].value == 1.0
    assert broken.failure is not None
    assert broken.failure.startswith("PluginError: acme-rerank registers a reranker named 'broken', but ")
