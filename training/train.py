"""Trains the interaction on states of the frozen bi-encoder."""

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
from training.network import Interaction
from training.states import Store

__all__ = ["Recipe", "train"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What training does; the defaults are what was shipped.

    Attributes:
        groups: how many groups to train on, each a query with its gold and some negatives.
        groups_a_step: the batch.
        top, near, other: negatives of each kind: from the tops of BM25 and cosine, of the same article, of anywhere.
        margin: a negative whose cosine is this much above the gold's is taken for an answer that nobody marked, and
            left out.
        soft: how much of the target is the softmax of the cosines, at `temperature`; the rest is the gold.
        rate: AdamW's learning rate after 6 % of the steps; it falls to zero along a cosine.
        average: the trained weights are an exponential average over about 1 / (1 - average) steps.
        blend: what is shipped lies so far on the way from the start to the trained weights. As in WiSE-FT
            (https://arxiv.org/abs/2109.01903), less is forgotten of what no source is about: trained without a source,
            half way keeps the gain on the others and loses half as much on that one.
    """

    groups: int = 40_000
    groups_a_step: int = 16
    top: int = 4
    near: int = 1
    other: int = 0
    margin: float = 0.12
    soft: float = 0.2
    temperature: float = 0.05
    rate: float = 1e-3
    decay: float = 0.02
    average: float = 0.99
    blend: float = 0.5


def train(
    student: Interaction,
    tasks: Sequence[Task],
    queries: Store,
    passages: Store,
    recipe: Recipe,
    *,
    seed: int,
    seconds: float,
) -> Interaction:
    """`student`, trained, with averaged weights.

    Where `seconds` are not enough for all groups, fewer are taken: the pace of the first steps decides, so that the
    learning rate still falls to zero.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student = student.to(device)
    average = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(student, recipe), betas=(0.9, 0.98), foreach=True)
    steps = recipe.groups // recipe.groups_a_step
    stream = _stream([task for task in tasks if not task.held_out and len(task.top)], rng)
    started = time.perf_counter()
    losses, hits, step = [], [], 0
    while step < steps:
        batch = [next(stream) for _ in range(recipe.groups_a_step)]
        loss, hit = _step(student, batch, queries, passages, recipe, rng, device)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * _schedule(step, steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        step += 1
        blend = min(recipe.average, step / (step + 10))
        with torch.no_grad():
            for ours, theirs in zip(average.parameters(), student.parameters(), strict=True):
                ours.lerp_(theirs, 1 - blend)
        losses.append(loss.item())
        hits.append(hit)
        if step == 20:
            steps = min(steps, int(seconds / (time.perf_counter() - started) * step))
        if step % 50 == 0 or step == steps:
            passed = time.perf_counter() - started
            pairs = step * recipe.groups_a_step * (1 + recipe.top + recipe.near + recipe.other)
            print(
                f"  step {step} of {steps}: loss {np.mean(losses[-50:]):.3f}, gold first {np.mean(hits[-50:]):.3f},"
                f" {pairs / passed:.0f} pairs a second, cosine x {student.weights[0].item():.2f}, late x"
                f" {student.weights[1].item():.2f}",
                flush=True,
            )
    return average.cpu().eval()


def _groups(student: Interaction, recipe: Recipe) -> list[dict[str, object]]:
    """The two weights move 100 times as fast as the rest, and what starts at zero three times."""
    fast, zero = [student.weights], [*student.head.parameters(), *student.importance.parameters()]
    named = {id(parameter) for parameter in [*fast, *zero]}
    rest = [parameter for parameter in student.parameters() if id(parameter) not in named]
    return [
        {"params": fast, "rate": 100 * recipe.rate, "weight_decay": 0.0},
        {"params": zero, "rate": 3 * recipe.rate, "weight_decay": recipe.decay},
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


def _step(
    student: Interaction,
    batch: Sequence[Task],
    queries: Store,
    passages: Store,
    recipe: Recipe,
    rng: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, float]:
    """The loss of a batch of groups, and how often the gold is first."""
    shown = np.stack([_group(task, passages, recipe, rng) for task in batch])
    asked = np.array([task.query for task in batch])
    cosines = np.einsum("qh,qph->qp", queries.means[asked], passages.means[shown])
    allowed = torch.from_numpy(cosines <= cosines[:, :1] + recipe.margin).to(device)
    logits = scores(student, queries, passages, np.repeat(asked, shown.shape[1]), shown.ravel())
    logits = logits.view(shown.shape).masked_fill(~allowed, -1e4)
    teacher = torch.from_numpy(cosines / recipe.temperature).to(device).masked_fill(~allowed, -1e4).softmax(-1)
    target = recipe.soft * teacher
    target[:, 0] += 1 - recipe.soft
    loss = -(target * logits.log_softmax(-1)).sum(-1).mean()
    return loss, float((logits.argmax(-1) == 0).float().mean())


def _group(task: Task, passages: Store, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.int64]:
    top = rng.choice(task.top, min(recipe.top, len(task.top)), replace=False)
    near = task.near[rng.permutation(len(task.near))[: 0 if task.weak else recipe.near]]
    missing = recipe.top + recipe.near + recipe.other - len(top) - len(near)
    return np.concatenate([[task.gold], top, near, rng.integers(len(passages), size=missing)])


def scores(
    student: Interaction, queries: Store, passages: Store, asked: NDArray[np.int64], shown: NDArray[np.int64]
) -> Tensor:
    """Logits of pairs of query and passage; products in bfloat16."""
    query, document = queries.batch(asked), passages.batch(shown)
    cosine = np.einsum("ph,ph->p", queries.means[asked], passages.means[shown])
    with torch.autocast(query.values.device.type, torch.bfloat16):
        logits: Tensor = student(query, document, torch.from_numpy(cosine).to(query.values.device))
    return logits.float()
