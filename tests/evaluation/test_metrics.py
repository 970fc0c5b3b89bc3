"""Metrics by name: which work, and that none ends the process."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from typing import Any

import pytest

pytest.importorskip("ir_measures")

import ir_measures

from ksdk_rerank import SearchHit
from ksdk_rerank.evaluation import evaluate
from ksdk_rerank.evaluation.metrics import measure_for
from ksdk_rerank.evaluation.qrels import QueryJudgements

GOOD = [
    *("nDCG@10", "nDCG", "nDCG(judged_only=True)@5", "nDCG(gains={0: 1, 1: 5})@5", "MRR@10", "MRR", "RR(rel=2)@5"),
    *("P@1", "P(rel=2)@5", "P@1000000", "R@5", "Recall@5", "AP", "AP@10", "MAP", "Success@5", "Rprec", "Bpref"),
    *("infAP", "SetP", "SetP(relative=True)", "SetR", "SetF", "SetF(beta=2)", "SetF(beta=0.5)", "SetAP", "IPrec@0"),
    *("IPrec@0.5", "IPrec@1.0", "Judged", "Judged@3", "Accuracy", "Accuracy@3", "Compat", "Compat(p=0.5)"),
    *("NumRet", "NumRel", "NumQ"),
]

BAD = {
    "P@0": "cutoff must be a whole number from 1 to 1,000,000, got 0; use a name from https",
    "nDCG@0": "such as nDCG@10",
    "R@0": "such as R@10",
    "AP@0": "such as AP@10",
    "RR@0": "such as RR@10",
    "Success@0": "such as Success@10",
    "Judged@0": "such as Judged@10",
    "P@-1": "unknown metric 'P@-1'",
    "P@1.5": "cutoff must be a whole number",
    "P@True": "cutoff must be a whole number",
    "P@'1'": "cutoff must be a whole number",
    "P@99999999999999999999": "cutoff must be a whole number",
    "P@1000001": "cutoff must be a whole number",
    "P": "the metric P needs a value for cutoff",
    "P@None": "needs a value for cutoff",
    "IPrec": "needs a value for recall; use a name from https://ir-measur.es, such as IPrec@0.5",
    "P(rel=0)@5": "rel must be a whole number from 1",
    "P(rel=99999999999)@5": "rel must be a whole number",
    "Bpref(rel=0)": "rel must be a whole number",
    "RR(rel=0)@5": "rel must be a whole number",
    "P(rel='x')@5": "rel must be a whole number",
    "P(judged_only=1)@5": "judged_only must be True or False",
    "P(level=1)@5": "P has no level (it has: cutoff, rel, judged_only)",
    "IPrec@2.0": "recall must be a number from 0 to 1",
    "IPrec@1e400": "recall must be a number from 0 to 1",
    "SetF(beta=0.0)": "beta must be a number above 0",
    "SetF(beta=1e400)": "beta must be a number above 0",
    "Compat(p=2.0)": "p must be a number from 0 to 1",
    "nDCG(dcg='log3')@5": "dcg must be 'log2' or 'exp-log2'",
    "nDCG(gains={1: 1.5})@5": "gains must be whole numbers",
    "nDCG(gains={1: 2147483648})@5": "gains must be whole numbers",
    "nDCG(gains={'a': 1, 1: 2})@5": "gains must be whole numbers",
    "nDCG(gains=3)@5": "gains must be whole numbers",
    "NumRel(rel=2)": "cannot be computed here; use a name from",
    "RR(judged_only=True)@5": "cannot be computed here; use a name from",
    "ERR": "cannot be computed here",
    "RBP": "cannot be computed here",
    "nDGC@10": "unknown metric 'nDGC@10'; use a name from https://ir-measur.es, such as nDCG@10",
    "ndcg@10": "such as nDCG@10",
    "ndcg_cut_10": "such as nDCG@10",
    "precision@3": "such as Precision@10",
    "recall@5": "such as Recall@10",
    "map": "such as MAP@10",
    "mrr@10": "such as MRR@10",
    "hit@5": "such as nDCG@10, MRR@10, P@1, R@5",
    "": "unknown metric ''",
    " P@1": "unknown metric ' P@1'",
    "P@1\n": "unknown metric 'P@1\\n'",
    "P@5@5": "unknown metric",
    "P(5)": "unknown metric",
    "P(**{})@5": "unknown metric",
    "P@1; P@2": "unknown metric",
    "__import__('os')": "unknown metric",
    "\0": "unknown metric",
    "(" * 199: "unknown metric",
    "-" * 100_000: "unknown metric '-----",
    "x" * 5000: "unknown metric 'xxxx",
}

_NEEDS_MORE = {"cwl_eval": "BPM(max_rel=1)@5", "pyndeval": "alpha_nDCG@5"}


@pytest.mark.parametrize("name", GOOD)
def test_the_metrics_that_can_be_calculated_are(name: str) -> None:
    hits = [SearchHit(id, "t") for id in "abc"]
    judgements = {
        "q1": QueryJudgements(hits, {"a": 1, "b": 0, "x": 2}),
        "q2": QueryJudgements([], {"a": 1}),
        "q3": QueryJudgements(hits, {"c": 3}),
    }
    measured = measure_for([name], judgements)({"q1": (0, 1, 2), "q2": (), "q3": (2, 1, 0)})
    assert list(measured) == ["q1", "q2", "q3"]
    for values in measured.values():
        assert list(values) == [name]
        assert 0 <= values[name] <= 3


@pytest.mark.parametrize(("name", "message"), BAD.items(), ids=[name[:40] for name in BAD])
def test_a_metric_that_cannot_be_used_is_named_in_one_line_with_the_nearest_ones(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"metric") as caught:
        measure_for(["nDCG@10", name], {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(("package", "name"), _NEEDS_MORE.items())
def test_a_metric_of_a_package_that_is_missing_says_what_to_install(package: str, name: str) -> None:
    if package in sys.modules or ir_measures.providers.registry[package].is_available():
        pytest.skip(f"{package} is installed")
    with pytest.raises(ValueError, match=rf"it needs another package: pip install ir-measures\[{package}\], or use"):
        measure_for([name], {})


def test_a_metric_is_not_a_number() -> None:
    metric: Any = ir_measures.P @ 5
    with pytest.raises(TypeError, match="metrics must be names, got P@5; write 'P@5'"):
        measure_for([metric], {})


_TRIES = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ksdk_rerank import SearchHit
from ksdk_rerank.evaluation.qrels import QueryJudgements
from ksdk_rerank.evaluation.metrics import measure_for
hits = [SearchHit(id, "t") for id in "abc"]
grades = [{"a": 1, "b": 0, "x": 2147483647}, {"a": 1}, {"a": 0}, ["b"], {"c": 5000}]
judged = {str(number): QueryJudgements(hits, each) for number, each in enumerate(grades)}
orders = dict(zip(judged, [(0, 1, 2), (), (2, 1, 0), (1, 0), (0, 1, 2)]))
for name in json.load(sys.stdin):
    print(name, flush=True)  # the last one is to blame
    try:
        measure_for([name], judged)(orders)
    except ValueError:
        pass
"""


def test_no_name_of_a_metric_ends_the_process_or_raises_anything_else() -> None:
    cutoffs = ["", "@-1", "@0", "@1", "@5", "@0.5", "@1e400", "@True", "@1000000", f"@{2**31}", f"@{2**63 - 1}"]
    parameters = ["", "(rel=0)", "(rel=1000000)", "(rel=2)", "(rel=2147483648)", "(judged_only=True)", "(max_rel=1)"]
    odd = ["(gains={0: 1000000})", "(gains={1: 0})", "(beta=1e-300)", "(p=0.0)", "(p=1)", "(alpha=2)", "(dcg='log2')"]
    names = ["".join(parts) for parts in product(ir_measures.measures.registry, [*parameters, *odd], cutoffs)]
    done = subprocess.run(
        [sys.executable, "-c", _TRIES], input=json.dumps(names), capture_output=True, text=True, timeout=500
    )
    tried = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, ""), f"{tried[-1:]}: {done.stderr[-2000:]}"
    assert len(tried) == len(names) > 5000


def test_metrics_do_not_change_each_other() -> None:
    hits = {"q": [SearchHit(id, "t") for id in "abc"]}
    names = ["nDCG(gains={1: 100, 2: 1})@5", "nDCG@5", "P(rel=2)@2", "P@2", "SetF(beta=0.5)", "SetF(beta=2.0)"]
    grades = {"q": {"a": 1, "c": 2}}

    def values(*metrics: str) -> dict[str, float]:
        found = evaluate(["input-order"], {"q": "q"}, hits, grades, metrics).first_stage.metrics
        return {name: compared.value for name, compared in found.items()}

    alone = {name: value for each in names for name, value in values(each).items()}
    assert values(*names) == values(*reversed(names)) == alone
    assert len(set(alone.values())) == len(names)


def test_grades_that_a_metric_does_not_take_are_explained() -> None:
    if not ir_measures.providers.registry["gdeval"].is_available():
        pytest.skip("there is no perl, which this metric is in")
    hits = {"q": [SearchHit("a", "t")]}
    result = evaluate(["input-order"], {"q": "q"}, hits, {"q": {"a": 4}}, ["ERR@10", "nDCG(dcg='exp-log2')@10"])
    assert result.first_stage.metrics["nDCG(dcg='exp-log2')@10"].value == 1.0
    for name in ("ERR@10", "nDCG(dcg='exp-log2')@10"):
        with pytest.raises(ValueError, match="accepts grades up to 4, but one of yours is 5; use another metric"):
            evaluate(["input-order"], {"q": "q"}, hits, {"q": {"a": 5}}, [name])
