"""The pictures of the benchmarks' page, which `page.py` writes: what each shows, and how it is drawn.

Each suits a light and a dark page: its colours follow the page it is shown on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, ROW = 720, 280, 64, 44, 26
STYLE = """
svg { --text: #1f2328; --quiet: #59636e; --line: #d1d9e0; --other: #8c959f; --ours: #0b6a8a; --page: #ffffff; }
@media (prefers-color-scheme: dark) {
  svg { --text: #e6edf3; --quiet: #9aa4af; --line: #3d444d; --other: #7d8590; --ours: #5cc0e0; --page: #1e2129; }
}
text { font: 13px system-ui, sans-serif; fill: var(--text); }
.title { font-weight: 600; font-size: 15px; }
.quiet { fill: var(--quiet); font-size: 12px; }
.axis { stroke: var(--line); }
.ours { fill: var(--ours); }
.other { fill: var(--other); }
.ring { fill: var(--page); stroke: var(--other); stroke-width: 2; }
.link { stroke: var(--ours); stroke-width: 2; fill: none; }
"""

Drawing = list[str]


@dataclass(frozen=True)
class Picture:
    """A picture of one result.

    Attributes:
        name: its file's name, without .svg.
        heading: what it is about.
        draw: returns the SVG for the result.
        result: the file in `results`, without .json.
        machine: whose result in that file.
        shows: what can be seen in it, for those who cannot see it.
        note: what else to know about it.
    """

    name: str
    heading: str
    draw: Callable[[Mapping[str, Any]], str]
    result: str
    machine: str
    shows: str
    note: str


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def dot(x: float, y: float, kind: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="{kind}"/>'


def page(title: str, result: Mapping[str, Any], drawing: Drawing, height: float) -> str:
    """The whole file: a title above the drawing, and below it when and on which machine the numbers were measured."""
    source = f"{result['date']}, {result['machine']}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 30:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            text(0, 18, title, "title"),
            *drawing,
            text(0, height + 20, source, "quiet"),
            "</svg>\n",
        ]
    )


def bars(rows: Sequence[tuple[str, float, bool]], unit: str) -> tuple[Drawing, float]:
    """One bar per row: its name, its value, and whether it is one of this package's."""
    longest = max(value for _, value, _ in rows)
    drawing: Drawing = []
    for position, (name, value, ours) in enumerate(rows):
        y = TOP + position * ROW
        width = value / longest * (WIDTH - LEFT - RIGHT)
        drawing += [
            text(LEFT - 10, y + 14, name, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="18" rx="2" class="{"ours" if ours else "other"}"/>',
            text(LEFT + width + 6, y + 14, f"{value:.2f} {unit}"),
        ]
    return drawing, TOP + len(rows) * ROW


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Maps `low` to `start` and `high` to `end`."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def quality_and_time(result: Mapping[str, Any]) -> str:
    """nDCG@10 against seconds per question; the wrappers that run the same weights are told apart by their time."""
    lines = {each["order"]: each for each in result["lines"] if each["collection"] == "trec-dl-2019"}
    names = {
        "first stage": "BM25's order",
        "embedded": "embedded, by this package",
        "all-MiniLM cosine": "all-MiniLM cosine",
    }
    wrappers = [name for name in lines if name.startswith("embedded by ")]
    points = [(names[name], lines[name], name == "embedded") for name in names]
    height, bottom = 330.0, 290.0
    x = scale(0, 0.72, 60, WIDTH - 130)
    y = scale(0.5, 0.7, bottom, TOP + 10)
    drawing = [
        line(60, bottom, WIDTH - 20, bottom),
        text(WIDTH - 20, bottom + 32, "seconds per question", "quiet", "end"),
    ]
    for tick in (0.5, 0.55, 0.6, 0.65, 0.7):
        drawing += [line(60, y(tick), WIDTH - 20, y(tick)), text(52, y(tick) + 4, f"{tick:.2f}", "quiet", "end")]
    drawing += [text(x(tick / 5), bottom + 16, f"{tick / 5:.1f}", "quiet", "middle") for tick in range(4)]
    for name, each, ours in points:
        at = x(each["seconds"] / each["queries"]), y(each["ndcg"])
        drawing += [
            dot(*at, "ours" if ours else "other"),
            text(at[0], at[1] + 22, name, anchor="start" if at[0] < 150 else "middle"),
        ]
    drawing += [
        dot(x(lines[name]["seconds"] / lines[name]["queries"]), y(lines[name]["ndcg"]), "ring") for name in wrappers
    ]
    at_wrappers = min(x(lines[name]["seconds"] / lines[name]["queries"]) for name in wrappers)
    listed = ", ".join(name.removeprefix("embedded by ") for name in wrappers)
    drawing.append(
        text(at_wrappers - 8, y(lines[wrappers[0]]["ndcg"]) - 14, f"the same weights by {listed}", anchor="middle")
    )
    return page("nDCG@10 on TREC DL 2019, 30 candidates", result, drawing, height)


def time_of_engines(result: Mapping[str, Any]) -> str:
    """Seconds for the same 50 candidates and the same weights; our engines against the usual wrappers."""
    ours = ("onnx", "openvino", "torch")
    rows = [
        (name, each["median_s"], name.startswith(ours))
        for name, each in result["seconds"].items()
        if not name.startswith("embedded")
    ]
    drawing, height = bars(sorted(rows, key=lambda row: row[1]), "s")
    return page("Seconds for 50 candidates, the same weights everywhere", result, drawing, height)


def gain_per_collection(result: Mapping[str, Any]) -> str:
    """nDCG@10 before and after reranking, one row per collection."""
    found: dict[str, dict[str, float]] = {}
    for each in result["lines"]:
        if "+" not in each["collection"]:
            found.setdefault(each["collection"], {})[each["order"]] = each["ndcg"]
    rows = sorted(found.items(), key=lambda row: row[1]["first stage"] - row[1]["embedded"])
    bottom = TOP + len(rows) * ROW
    x = scale(0.3, 1, LEFT, WIDTH - RIGHT)
    drawing: Drawing = []
    for tick in range(4, 11, 2):
        drawing += [line(x(tick / 10), TOP - 6, x(tick / 10), bottom)]
        drawing += [text(x(tick / 10), bottom + 14, f"{tick / 10:.1f}", "quiet", "middle")]
    for position, (name, orders) in enumerate(rows):
        y = TOP + position * ROW + 9
        before, after = x(orders["first stage"]), x(orders["embedded"])
        drawing += [
            text(LEFT - 20, y + 4, name, anchor="end"),
            line(before, y, after, y, "link"),
            dot(before, y, "ring"),
            dot(after, y, "ours"),
        ]
    key = bottom + 38
    drawing += [dot(LEFT, key - 4, "ring"), text(LEFT + 12, key, "BM25's order")]
    drawing += [dot(LEFT + 130, key - 4, "ours"), text(LEFT + 142, key, "reranked by embedded")]
    return page("nDCG@10 before and after reranking 50 candidates", result, drawing, key + 12)


def first_score(result: Mapping[str, Any]) -> str:
    """Seconds until a new process has its first score."""
    rows = [(name, seconds, True) for name, seconds in result["seconds"].items()]
    drawing, height = bars(rows, "s")
    return page("Seconds in a new process", result, drawing, height)


def time_and_tokens(result: Mapping[str, Any]) -> str:
    """Seconds against tokens, both on a logarithmic scale; one point per number of candidates and length."""
    height, bottom = 340.0, 300.0
    x = scale(math.log10(200), math.log10(300_000), 60, WIDTH - 40)
    y = scale(math.log10(0.02), math.log10(30), bottom, TOP)
    drawing = [text(WIDTH - 40, bottom + 32, "tokens of all candidates", "quiet", "end")]
    for seconds in (0.1, 1, 10):
        at = y(math.log10(seconds))
        drawing += [line(60, at, WIDTH - 40, at), text(52, at + 4, f"{seconds:g} s", "quiet", "end")]
    for tokens in (1_000, 10_000, 100_000):
        drawing.append(text(x(math.log10(tokens)), bottom + 16, f"{tokens:,}", "quiet", "middle"))
    drawing.append(line(60, bottom, WIDTH - 40, bottom))
    kinds = {"ours": "about 32 tokens each", "other": "about 130 tokens each", "ring": "about 510 tokens each"}
    for each in result["sizes"]:
        kind = "ours" if each["tokens_each"] < 64 else "other" if each["tokens_each"] < 256 else "ring"
        total = each["candidates"] * each["tokens_each"]
        drawing.append(dot(x(math.log10(total)), y(math.log10(each["seconds"])), kind))
    for position, (kind, label) in enumerate(kinds.items()):
        drawing += [dot(80, TOP + 6 + position * 20, kind), text(94, TOP + 10 + position * 20, label)]
    return page("Seconds for 10 to 5,000 candidates", result, drawing, height)


PICTURES = (
    Picture(
        "quality-and-time",
        "Quality against time",
        quality_and_time,
        "quality-stock",
        "amd-epyc-2-cores-avx-vnni",
        "The same weights reach the same nDCG@10 of about .68 whoever runs them. This package takes a tenth of a second"
        " per question; LangChain, LlamaIndex, fastembed and FlashRank take more than a third. BM25's order has .52.",
        "All run the weights of `embedded` on 40 questions: this package in int8, the others in float32.",
    ),
    Picture(
        "time-of-engines",
        "The same weights in different engines",
        time_of_engines,
        "latency",
        "amd-epyc-2-cores-avx-vnni",
        "Bars of seconds for 50 candidates, from this package's onnx in int8, the fastest, over its other engines to"
        " the stock wrappers, which take three to ten times as long.",
        "50 candidates of about 137 tokens.",
    ),
    Picture(
        "gain-per-collection",
        "What reranking gains",
        gain_per_collection,
        "quality-embedded",
        "amd-epyc-2-cores-avx-vnni",
        "nDCG@10 rises on all five English collections, most on WikiQA and TREC DL 2019. It falls in German, and far in"
        " Chinese.",
        "`embedded` is English-only: on xquad-de and xquad-zh it makes the order worse.",
    ),
    Picture(
        "first-score",
        "How long until the first score",
        first_score,
        "startup",
        "amd-epyc-2-cores-avx2",
        "The import takes hundredths of a second, the first score with onnx less than half a second, with OpenVINO less"
        " than one, with torch almost six.",
        "The model has the size of MiniLM-L6.",
    ),
    Picture(
        "time-and-tokens",
        "Time grows with the tokens",
        time_and_tokens,
        "scaling",
        "amd-epyc-2-cores-avx2",
        "On two logarithmic scales the points lie on one straight line, from 10 candidates to 5,000, whatever their"
        " length; texts of 510 tokens lie slightly above it.",
        "Twice as many candidates take twice as long, and so do candidates of twice the length.",
    ),
)
