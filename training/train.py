"""Trains the cross-encoder on groups of a query, its gold passage and negatives."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.mine import Task
from training.network import CrossEncoder, Head
from training.states import Store

__all__ = ["Recipe", "Texts", "scores", "train"]

TOKENS = 2400
"""Of a forward pass, padding included."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What training does.

    Attributes:
        groups: how many groups to train on, each a query with its gold and some negatives.
        groups_a_step: the batch.
        top, near: negatives of each kind: from the tops of BM25 and cosine, and of the same article or topic. Where
            there are not enough, passages from anywhere.
        margin: a negative whose cosine is this much above the gold's is taken for an answer that nobody marked, and
            left out.
        soft: how much of the target is the softmax of the teacher's logits; the rest is the gold.
        rate: AdamW's learning rate after 6 % of the steps; it falls to zero along a cosine.
        average: the trained weights are an exponential average over about 1 / (1 - average) steps.
        blend: the result lies so far on the way from the start to the trained weights. As in WiSE-FT
            (https://arxiv.org/abs/2109.01903), less is forgotten of what no source is about.
    """

    groups: int = 40_000
    groups_a_step: int = 16
    top: int = 3
    near: int = 1
    margin: float = 0.12
    soft: float = 0.4
    rate: float = 1e-4
    decay: float = 0.01
    average: float = 0.99
    blend: float = 0.5


@dataclass(frozen=True, slots=True)
class Texts:
    """Queries or passages: their token ids, and their states in the bi-encoder."""

    ids: Sequence[Sequence[int]]
    states: Store


def train(
    model: CrossEncoder,
    tasks: Sequence[Task],
    queries: Texts,
    passages: Texts,
    recipe: Recipe,
    *,
    seed: int,
    seconds: float,
) -> CrossEncoder:
    """`model`, trained, with averaged weights.

    Where `seconds` are not enough for all groups, fewer are taken: the pace of the first steps decides, so that the
    learning rate still falls to zero. The encoder calculates in bfloat16 and keeps float32 weights aside.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = model.to(queries.states.device).requires_grad_(True)
    model.encoder.words.weight.requires_grad_(False)
    fast = copy.deepcopy(model)
    fast.encoder.to(torch.bfloat16)
    trained = [(p, q) for p, q in zip(model.parameters(), fast.parameters(), strict=True) if p.requires_grad]
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(model, recipe), betas=(0.9, 0.98), foreach=True)
    steps = recipe.groups // recipe.groups_a_step
    stream = _stream([task for task in tasks if not task.held_out and len(task.top)], rng)
    started = time.perf_counter()
    losses, hits, step = [], [], 0
    while step < steps:
        batch = [next(stream) for _ in range(recipe.groups_a_step)]
        loss, hit = _loss(fast, batch, queries, passages, recipe, rng)
        loss.backward()  # type: ignore[no-untyped-call]
        for ours, theirs in trained:
            assert theirs.grad is not None
            ours.grad, theirs.grad = theirs.grad.float(), None
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * _schedule(step, steps)
        optimizer.step()
        step += 1
        _follow(average, model, 1 - min(recipe.average, step / (step + 10)))
        with torch.no_grad():
            for ours, theirs in trained:
                theirs.copy_(ours)
        losses.append(loss.item())
        hits.append(hit)
        if step == 10:
            steps = min(steps, int(seconds / (time.perf_counter() - started) * step))
        if step % 25 == 0 or step == steps:
            pairs = step * recipe.groups_a_step * (1 + recipe.top + recipe.near)
            print(
                f"  step {step} of {steps}: loss {np.mean(losses[-25:]):.3f}, gold first {np.mean(hits[-25:]):.3f},"
                f" {pairs / (time.perf_counter() - started):.0f} pairs a second",
                flush=True,
            )
    return average.cpu().eval()


def _follow(average: CrossEncoder, model: CrossEncoder, share: float) -> None:
    with torch.no_grad():
        for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
            ours.lerp_(theirs, share)


def _groups(model: CrossEncoder, recipe: Recipe) -> list[dict[str, object]]:
    """The two weights move 100 times as fast as the rest, and what starts at zero ten times."""
    fast = [model.head.weights]
    zero = [*model.head.importance.parameters(), *model.head.linear.parameters(), model.encoder.of_document]
    named = {id(parameter) for parameter in [*fast, *zero]}
    rest = [one for one in model.parameters() if id(one) not in named and one.requires_grad]
    return [
        {"params": fast, "rate": 100 * recipe.rate, "weight_decay": 0.0},
        {"params": zero, "rate": 10 * recipe.rate, "weight_decay": recipe.decay},
        {"params": rest, "rate": recipe.rate, "weight_decay": recipe.decay},
    ]


def _stream(tasks: Sequence[Task], rng: np.random.Generator) -> Iterator[Task]:
    """All tasks in random order, again and again."""
    while True:
        for index in rng.permutation(len(tasks)):
            yield tasks[index]


def _schedule(step: int, steps: int) -> float:
    warm = max(1, int(0.06 * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def _loss(
    model: CrossEncoder,
    batch: Sequence[Task],
    queries: Texts,
    passages: Texts,
    recipe: Recipe,
    rng: np.random.Generator,
) -> tuple[Tensor, float]:
    """The loss of a batch of groups, and how often the gold is first."""
    shown = np.stack([_group(task, len(passages.ids), recipe, rng) for task in batch])
    asked = np.array([task.query for task in batch])
    cosines = np.einsum("qh,qph->qp", queries.states.means[asked], passages.states.means[shown])
    each, all_shown = np.repeat(asked, shown.shape[1]), shown.ravel()
    with torch.no_grad():
        teacher = Head().to(queries.states.device)(queries.states.batch(each), passages.states.batch(all_shown))
    logits = scores(model, [queries.ids[i] for i in each], [passages.ids[i] for i in all_shown]).view(shown.shape)
    hidden = torch.from_numpy(cosines > cosines[:, :1] + recipe.margin).to(logits.device)
    target = recipe.soft * teacher.view(shown.shape).masked_fill(hidden, -1e4).softmax(-1)
    target[:, 0] += 1 - recipe.soft
    logits = logits.masked_fill(hidden, -1e4)
    loss = -(target * logits.log_softmax(-1)).sum(-1).mean()
    return loss, float((logits.argmax(-1) == 0).float().mean())


def _group(task: Task, passages: int, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.int64]:
    top = rng.choice(task.top, min(recipe.top, len(task.top)), replace=False)
    near = task.near[rng.permutation(len(task.near))[: 0 if task.weak else recipe.near]]
    missing = recipe.top + recipe.near - len(top) - len(near)
    return np.concatenate([[task.gold], top, near, rng.integers(passages, size=missing)])


def scores(model: CrossEncoder, queries: Sequence[Sequence[int]], passages: Sequence[Sequence[int]]) -> Tensor:
    """Logits (n) of pairs, given as ids of texts that were tokenised apart; in order of length, `TOKENS` at a time."""
    pairs = [[*query, *passage[1:]] for query, passage in zip(queries, passages, strict=True)]
    order = np.argsort([len(pair) for pair in pairs], kind="stable")
    device = model.calibration.device
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
