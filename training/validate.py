"""Measures the ranking of held-out queries, and calibrates logits to probabilities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.mine import Task
from training.network import CrossEncoder, Head
from training.splade import Splade
from training.states import Texts, device, fast
from training.teacher import teach
from training.train import TOKENS

__all__ = ["Judged", "calibration", "judge", "reciprocal_ranks", "reliability"]

CANDIDATES = 20
PER_SOURCE = 80


class Judged:
    """Held-out queries with their candidates: the gold first, then the best of BM25."""

    def __init__(self, tasks: Sequence[Task], seed: int, per_source: int = PER_SOURCE) -> None:
        rng = np.random.default_rng(seed)
        self.tasks: list[Task] = []
        for source in sorted({task.source for task in tasks}):
            held_out = [task for task in tasks if task.source == source and task.held_out and not task.weak]
            self.tasks += [held_out[i] for i in rng.permutation(len(held_out))[:per_source]]
        self.candidates = [np.concatenate([[task.gold], task.top[: CANDIDATES - 1]]) for task in self.tasks]

    def base(self, queries: Texts, passages: Texts) -> list[NDArray[np.float32]]:
        """Return the logits of the untrained all-MiniLM-L6-v2, from its cosine and late interaction."""
        head = Head().to(device)
        with torch.inference_mode():
            return [
                head.all_pairs(queries.base.batch([task.query]), passages.base.batch(shown))[0].cpu().numpy()
                for task, shown in zip(self.tasks, self.candidates, strict=True)
            ]

    def teacher(self, splade: Splade, queries: Texts, passages: Texts) -> list[NDArray[np.float32]]:
        """Return the logits of the teacher."""
        return [
            teach(splade, queries, [task.query], passages, shown)[0][0].cpu().numpy()
            for task, shown in zip(self.tasks, self.candidates, strict=True)
        ]


def judge(judged: Judged, model: CrossEncoder, queries: Texts, passages: Texts) -> list[NDArray[np.float32]]:
    """Return the logits of each query's candidates, before calibration, from pairs as the exported graph gets them."""
    sizes = [len(shown) for shown in judged.candidates]
    asked = [queries.ids[task.query] for task, size in zip(judged.tasks, sizes, strict=True) for _ in range(size)]
    shown = [passages.ids[place] for candidates in judged.candidates for place in candidates]
    model = copy.deepcopy(model).to(device).eval()
    model.calibration.copy_(torch.tensor([1.0, 0.0]))  # training may have started from a calibrated model
    with torch.inference_mode(), torch.autocast(device.type, fast, enabled=fast is not torch.float32):
        found = _scores(model, asked, shown).float().cpu().numpy()
    return np.split(found, np.cumsum(sizes)[:-1])


def _scores(model: CrossEncoder, queries: Sequence[Sequence[int]], passages: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits (n) of pairs, given as ids of texts tokenised separately; batches are sorted by length."""
    pairs = [[*query, *passage[1:]] for query, passage in zip(queries, passages, strict=True)]
    order = np.argsort([len(pair) for pair in pairs], kind="stable")
    found, at = [], 0
    while at < len(order):
        end = at + 1
        while end < len(order) and (end + 1 - at) * len(pairs[order[end]]) <= TOKENS:
            end += 1
        rows = order[at:end]
        ids = np.zeros((len(rows), len(pairs[rows[-1]])), np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, index in enumerate(rows):
            length = len(pairs[index])
            ids[row, :length], mask[row, :length], types[row, len(queries[index]) : length] = pairs[index], 1, 1
        found.append(model(*(torch.from_numpy(part).to(device) for part in (ids, mask, types)))[:, 0])
        at = end
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return torch.cat(found)[torch.from_numpy(back).to(device)]


def reciprocal_ranks(judged: Judged, found: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Return the mean reciprocal rank of the gold by source; ties count against it."""
    ranks: dict[str, list[float]] = {}
    for task, logits in zip(judged.tasks, found, strict=True):
        ranks.setdefault(task.source, []).append(1 / (1 + int((logits[1:] >= logits[0]).sum())))
    return {source: float(np.mean(values)) for source, values in ranks.items()}


def calibration(judged: Judged, found: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Return the scale and offset with which the sigmoid of a logit matches the share of golds.

    Follows Platt scaling, by Newton's method on the log loss. Each source has the same weight.
    """
    logits, golds, weights = _flat(judged, found)
    centre, spread = float(logits.mean()), float(logits.std())
    design = np.stack([(logits - centre) / spread, np.ones_like(logits)], 1)
    fitted = np.zeros(2)  # from here the steps do not overshoot
    for _ in range(30):
        probabilities = 1 / (1 + np.exp(-design @ fitted))
        gradient = design.T @ (weights * (probabilities - golds))
        curvature = (design * (weights * probabilities * (1 - probabilities))[:, None]).T @ design
        fitted -= np.linalg.solve(curvature, gradient)
    scale = float(fitted[0]) / spread
    return scale, float(fitted[1]) - scale * centre


def reliability(
    judged: Judged, found: Sequence[NDArray[np.float32]], to_logit: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> list[tuple[float, float, int]]:
    """Return mean probability, share of golds and number of pairs for each tenth of the scale that has any."""
    logits, golds, weights = _flat(judged, found)
    probabilities = 1 / (1 + np.exp(-to_logit(logits)))
    rows = []
    for low in np.arange(0, 1, 0.1):
        inside = (probabilities >= low) & (probabilities < low + 0.1)
        if inside.any():
            weight = weights[inside]
            rows.append(
                (
                    float(np.average(probabilities[inside], weights=weight)),
                    float(np.average(golds[inside], weights=weight)),
                    int(inside.sum()),
                )
            )
    return rows


def _flat(
    judged: Judged, found: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    logits = np.concatenate(found).astype(np.float64)
    golds = np.concatenate([np.arange(len(one)) == 0 for one in found]).astype(np.float64)
    size = {source: sum(task.source == source for task in judged.tasks) for source in {t.source for t in judged.tasks}}
    weights = np.concatenate(
        [np.full(len(one), 1 / size[task.source]) for task, one in zip(judged.tasks, found, strict=True)]
    )
    return logits, golds, weights / weights.sum()
