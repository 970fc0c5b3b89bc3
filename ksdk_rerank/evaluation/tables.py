"""An `Evaluation` as a plain-text table."""

from __future__ import annotations

from ksdk_rerank._text.columns import one_line, table
from ksdk_rerank._text.snippets import shortened
from ksdk_rerank.evaluation.advice import advice, arguments, heading
from ksdk_rerank.evaluation.measurements import EvaluatedReranker, Measurements

__all__ = ["plain", "summary"]

_LONGEST_REASON = 300


def plain(evaluation: Measurements, *, width: int | None = None) -> str:
    """The whole table as text: a summary line, the rows, notes on failures and usage, and the smallest prompts.

    To fit a terminal of `width` columns, the less important columns are dropped and long names continue below.
    """
    head = [
        "reranker",
        *evaluation.metrics,
        "difference",
        f"{100 * evaluation.confidence:.4g} % interval",
        "win/loss/tie",
        "p50 ms",
        "p95 ms",
        "answered",
    ]
    rows = [[row.name, *_numbers(evaluation, row)] for row in (evaluation.first_stage, *evaluation.rerankers)]
    dispensable = ["answered", "p95 ms", *reversed(evaluation.metrics[1:]), "win/loss/tie"]
    lines = [
        summary(evaluation),
        "",
        *table(head, rows, texts={"reranker"}, width=width, dispensable=dispensable),
    ]
    if notes := _notes(evaluation):
        lines += ["", *notes]
    if prompts := _prompts(evaluation):
        lines += ["", *prompts]
    return "\n".join(lines)


def summary(evaluation: Measurements) -> str:
    """One line on what was measured: queries, candidates and the metric of the differences."""
    queries, deepest = len(evaluation.queries), max(len(query.candidates) for query in evaluation.queries)
    return (
        f"{queries} {'query' if queries == 1 else 'queries'},"
        f" {deepest} {'candidate' if deepest == 1 else 'candidates'} at most;"
        f" difference: {evaluation.metrics[0]} against the first stage"
    )


def _numbers(evaluation: Measurements, row: EvaluatedReranker) -> list[str]:
    values = [f"{row.metrics[m].value:.3f}" if m in row.metrics else "-" for m in evaluation.metrics]
    if row is evaluation.first_stage:
        return [*values, *[""] * 6]
    answered = f"{len(row.queries)}/{len(evaluation.queries)}"
    if not row.metrics:
        return [*values, *["-"] * 5, answered]
    lead = row.metrics[evaluation.metrics[0]]
    interval = "-" if lead.interval is None else f"{lead.interval[0]:+.3f} to {lead.interval[1]:+.3f}"
    times = [_milliseconds(row.latency.p50), _milliseconds(row.latency.p95)] if row.latency else ["-", "-"]
    return [*values, f"{lead.difference:+.3f}", interval, f"{lead.wins}/{lead.losses}/{lead.ties}", *times, answered]


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"


def _notes(evaluation: Measurements) -> list[str]:
    """Notes for what the rows do not show: failures, usage, truncated documents and skipped queries."""
    notes = []
    for row in evaluation.rerankers:
        if row.failure is not None:
            failed = len(row.failures)
            rest = f", {row.not_asked} skipped after that" if row.not_asked else ""
            reason = shortened(row.failure, _LONGEST_REASON)
            notes.append(f"{row.name}: {failed} failed{rest}: {reason}")
        if row.fallbacks:
            notes.append(f"{row.name}: {row.fallbacks} answered by a fallback")
        if row.usage:
            notes.append(f"{row.name}: used {', '.join(f'{count:,.15g} {unit}' for unit, count in row.usage.items())}")
        if row.truncated:
            notes.append(f"{row.name}: read only the start of {row.truncated} documents")
    for reason in dict.fromkeys(evaluation.left_out.values()):
        ids = [query for query, why in evaluation.left_out.items() if why == reason]
        notes.append(f"left out, {reason}: {shortened(', '.join(ids), 80)} ({len(ids)})")
    return [one_line(line) for line in notes]


def _prompts(evaluation: Measurements) -> list[str]:
    """For each row, a sentence on its smallest prompt, and below it the arguments to paste."""
    lines = []
    for row in (evaluation.first_stage, *evaluation.rerankers):
        if row.prompts is not None and (sentence := advice(evaluation, row)):
            lines += [one_line(sentence), f"    {arguments(row.prompts.smallest)}"]
    return [f"{heading(evaluation)}:", *lines] if lines else []
