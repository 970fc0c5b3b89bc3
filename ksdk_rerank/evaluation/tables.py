"""An `Evaluation` as a plain-text table."""

from __future__ import annotations

from ksdk_rerank._text.columns import one_line, table
from ksdk_rerank._text.snippets import shortened
from ksdk_rerank.evaluation.advice import advice, arguments, heading
from ksdk_rerank.evaluation.measurements import EvaluatedReranker, Measurements

__all__ = ["as_table", "summary"]

_LONGEST_REASON = 300


def as_table(evaluation: Measurements, *, width: int | None = None) -> str:
    """The whole table as text: a summary line, the rows, notes on failures and usage, and the smallest prompts.

    To fit a terminal of `width` columns, the less important columns are dropped and long names continue below.
    """
    interval = f"{100 * evaluation.confidence:.4g} % interval"
    columns = ["reranker", *evaluation.metrics, "difference", interval, "win/loss/tie", "p50 ms", "p95 ms", "answered"]
    rows = []
    for row in (evaluation.first_stage, *evaluation.rerankers):
        cells, missing = _cells(evaluation, row, interval), "" if row is evaluation.first_stage else "-"
        rows.append([cells.get(column, missing) for column in columns])
    dispensable = ["answered", "p95 ms", *reversed(evaluation.metrics[1:]), "win/loss/tie"]
    lines = [
        summary(evaluation),
        "",
        *table(columns, rows, texts={"reranker"}, width=width, dispensable=dispensable),
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


def _cells(evaluation: Measurements, row: EvaluatedReranker, interval: str) -> dict[str, str]:
    """What is known of a row, by column."""
    cells = {"reranker": row.name, **{metric: f"{compared.value:.3f}" for metric, compared in row.metrics.items()}}
    if row is evaluation.first_stage:
        return cells
    cells["answered"] = f"{len(row.queries)}/{len(evaluation.queries)}"
    if row.metrics:
        lead = row.metrics[evaluation.metrics[0]]
        cells |= {"difference": f"{lead.difference:+.3f}", "win/loss/tie": f"{lead.wins}/{lead.losses}/{lead.ties}"}
        if lead.interval is not None:
            cells[interval] = f"{lead.interval[0]:+.3f} to {lead.interval[1]:+.3f}"
    if row.latency is not None:
        cells |= {"p50 ms": _milliseconds(row.latency.p50), "p95 ms": _milliseconds(row.latency.p95)}
    return cells


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"


def _notes(evaluation: Measurements) -> list[str]:
    """Notes for what the rows do not show: failures, usage, truncated documents and skipped queries."""
    notes = []
    for row in evaluation.rerankers:
        if row.failure is not None:
            failed = len(row.failures)
            rest = f", {row.skipped} skipped after that" if row.skipped else ""
            reason = shortened(row.failure, _LONGEST_REASON)
            notes.append(f"{row.name}: {failed} failed{rest}: {reason}")
        if row.fallbacks:
            notes.append(f"{row.name}: {row.fallbacks} answered by a fallback")
        if row.usage:
            notes.append(f"{row.name}: used {', '.join(f'{count:,.15g} {unit}' for unit, count in row.usage.items())}")
        if row.truncated:
            notes.append(f"{row.name}: read only the start of {row.truncated} documents")
    for reason in dict.fromkeys(evaluation.skipped_queries.values()):
        ids = [query for query, why in evaluation.skipped_queries.items() if why == reason]
        notes.append(f"left out, {reason}: {shortened(', '.join(ids), 80)} ({len(ids)})")
    return [one_line(line) for line in notes]


def _prompts(evaluation: Measurements) -> list[str]:
    """For each row, a sentence on its smallest prompt, and below it the arguments to paste."""
    lines = []
    for row in (evaluation.first_stage, *evaluation.rerankers):
        if row.prompts is not None and (sentence := advice(evaluation, row)):
            lines += [one_line(sentence), f"    {arguments(row.prompts.smallest)}"]
    return [f"{heading(evaluation)}:", *lines] if lines else []
