"""Measure whether reranking helps on your own questions, and see the results.

from ksdk_rerank.evaluation import evaluate

result = evaluate(["lexical"], queries, candidates, judgements)
print(result.table())
"""

from ksdk_rerank.evaluation.contenders import Progress
from ksdk_rerank.evaluation.evaluate import Evaluation, evaluate
from ksdk_rerank.evaluation.formats import Collection, read_beir, read_corpus, read_qrels, read_queries, read_run
from ksdk_rerank.evaluation.measurements import (
    Calibration,
    Comparison,
    EvaluatedQuery,
    EvaluatedReranker,
    Latency,
    PromptSize,
    PromptSizes,
    RankedQuery,
    ScoreBin,
)
from ksdk_rerank.evaluation.qrels import Answers, Grades, answers_to
from ksdk_rerank.evaluation.questions import Questions, read_questions
from ksdk_rerank.evaluation.store import DiskStore

__all__ = [
    "Answers",
    "Calibration",
    "Collection",
    "Comparison",
    "DiskStore",
    "EvaluatedQuery",
    "EvaluatedReranker",
    "Evaluation",
    "Grades",
    "Latency",
    "Progress",
    "PromptSize",
    "PromptSizes",
    "Questions",
    "RankedQuery",
    "ScoreBin",
    "answers_to",
    "evaluate",
    "read_beir",
    "read_corpus",
    "read_qrels",
    "read_queries",
    "read_questions",
    "read_run",
]
