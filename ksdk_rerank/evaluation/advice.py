"""Which `min_score` and `top_n` to use, in words and as arguments to paste."""

from __future__ import annotations

from ksdk_rerank.evaluation.measurements import EvaluatedReranker, Measurements, PromptSize, PromptSizes

__all__ = ["advice", "arguments", "heading", "percent", "saved", "saved_cost"]

_QUESTIONS = 1000  # savings are for this many


def heading(evaluation: Measurements) -> str:
    """What the smallest prompts are measured by."""
    estimated = ", tokens estimated" if evaluation.tokens_estimated else ""
    return f"Smallest prompts that keep {percent(evaluation.keep_answers)} of the answers in the whole list{estimated}"


def advice(evaluation: Measurements, row: EvaluatedReranker) -> str | None:
    """One sentence on the smallest prompt of a row; None if there is nothing to say."""
    if row.prompts is None:
        return None
    uncut, smallest = row.prompts.uncut, row.prompts.smallest
    if smallest.tokens >= uncut.tokens:
        return f"{row.name}: needs the whole list, {uncut.tokens:,.0f} tokens per question"
    interval = smallest.kept_interval
    likely = f" ({percent(interval[0])} to {percent(interval[1])})" if interval else ""
    return (
        f"{row.name}: {smallest.tokens:,.0f} of {uncut.tokens:,.0f} tokens per question keep"
        f" {percent(smallest.kept)}{likely} of the answers, and save {saved(evaluation, row.prompts)}"
    )


def saved(evaluation: Measurements, prompts: PromptSizes) -> str:
    """What the smallest prompt saves: tokens and, if there is a price, their cost."""
    cost = saved_cost(evaluation, prompts)
    priced = "" if cost is None else f", which cost {cost:,.2f}"
    return f"{_QUESTIONS * prompts.saved_tokens:,.0f} tokens per {_QUESTIONS:,} questions{priced}"


def saved_cost(evaluation: Measurements, prompts: PromptSizes) -> float | None:
    """What the saved tokens of 1,000 questions cost; None without a price."""
    if evaluation.price is None:
        return None
    return _QUESTIONS * prompts.saved_tokens / 1e6 * evaluation.price


def arguments(size: PromptSize) -> str:
    """The arguments that give a prompt this size in `rank`, `RerankCompressor` and `RerankPostprocessor`.

    Always both: if `top_n` is left out, the adapters return five documents.
    """
    return f"min_score={size.min_score!r}, top_n={size.top_n!r}"


def percent(share: float) -> str:
    """A share as a percentage with at most one decimal, rounded down: 94.96 % is not 95 %."""
    return f"{int(share * 1000 + 1e-6) / 10:g} %"
