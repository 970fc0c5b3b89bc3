"""Trains the network, in steps of a few queries with their gold passages and negatives."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.bert import States
from training.int8 import matrices, round_matrices, rounded
from training.mine import Task
from training.network import CrossEncoder
from training.states import Texts, device, fast
from training.teacher import teach

__all__ = ["Recipe", "train"]

TOKENS = 3000
"""Tokens per forward pass, padding included."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The hyperparameters of training.

    Attributes:
        steps: the maximum number of steps.
        queries: queries per step, all from one source. Each is compared with the passages of all of them.
        top, near: negatives per query: from the top results of BM25 and cosine, and from the same article or topic. If
            there are too few, random passages fill up.
        read: how many passages of other queries each query is also compared with: those that score highest without the
            comparison.
        margin: a negative that the teacher scores this much above the gold is likely an unmarked answer, and is left
            out.
        soft: the share of the target that is the softmax of the teacher's logits; the rest is the gold. For weak pairs
            the share is 1.
        late: the weight of the first loss, which leaves out the comparison and covers all passages of the step. It is
            the mean square of the differences from the teacher's logits, after each query's mean is subtracted.
        gold: the weight of the loss of the whole model, the cross-entropy with that target.
        keep: the weight of the loss that keeps token states near those of the base.
        rate: AdamW's learning rate of the encoder after 6 % of the steps; it then falls to zero along a cosine.
        decay: AdamW's weight decay.
        average: the trained weights are an exponential average over about 1 / (1 - average) steps.
    """

    steps: int = 4000
    queries: int = 16
    top: int = 3
    near: int = 1
    read: int = 8
    margin: float = 1.5
    soft: float = 0.5
    late: float = 1.0
    gold: float = 0.5
    keep: float = 1.0
    rate: float = 1e-4
    decay: float = 0.01
    average: float = 0.99


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
    """Train `model` and return it with averaged weights.

    If `seconds` are too few for all steps, the pace of the first 10 decides how many are made, so that the learning
    rate still falls to zero. Forward passes use weights rounded as for int8, and run the encoder in `fast`. The
    optimizer updates copies in float32.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = model.to(device).requires_grad_(True)
    model.splade.requires_grad_(False)
    model.splade.weight.requires_grad_(True)
    quick = copy.deepcopy(model)
    round_matrices(quick)
    quick.encoder.to(fast)
    to_round = set(map(id, matrices(quick)))
    trained = [(p, q) for p, q in zip(model.parameters(), quick.parameters(), strict=True) if p.requires_grad]
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(model, recipe), betas=(0.9, 0.98), foreach=True)
    batches = _batches([task for task in tasks if not task.held_out and len(task.top)], recipe.queries, rng)
    steps, started = recipe.steps, time.perf_counter()
    said: list[list[float]] = []
    for step, batch in enumerate(batches, 1):
        losses, hits = _losses(quick, batch, queries, passages, recipe, rng)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        for ours, theirs in trained:
            ours.grad, theirs.grad = None if theirs.grad is None else theirs.grad.float(), None
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * _schedule(step - 1, steps)
        optimizer.step()
        with torch.no_grad():
            for ours, theirs in trained:
                theirs.copy_(rounded(ours) if id(theirs) in to_round else ours)
            for mean, ours in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(ours, 1 - min(recipe.average, step / (step + 10)))
        said.append([*(loss.item() for loss in losses), hits])
        seconds_a_step = (time.perf_counter() - started) / step
        if step == 10:
            steps = min(steps, int(seconds / seconds_a_step))
        if step % 25 == 0 or step == steps:
            reading, late, kept, hit = np.mean(said[-25:], axis=0)
            print(
                f"  step {step} of {steps}, {seconds_a_step:.1f} s each: loss {reading:.3f}, of late interaction"
                f" {late:.3f}, of states {kept:.3f}; gold first {hit:.3f}",
                flush=True,
            )
        if step == steps:
            break
    round_matrices(average)
    return average.cpu().eval()


def _groups(model: CrossEncoder, recipe: Recipe) -> list[dict[str, object]]:
    """Return parameter groups: untrained parts learn faster than the rest, and the head's two weights fastest."""
    parts = [
        (list(model.encoder.parameters()), 1, recipe.decay),
        ([*model.comparison.parameters(), *model.head.importance.parameters()], 5, recipe.decay),
        ([model.head.weights], 50, 0.0),
        ([model.splade.weight], 1, 0.0),
    ]
    return [
        {"params": [one for one in part if one.requires_grad], "rate": times * recipe.rate, "weight_decay": decay}
        for part, times, decay in parts
    ]


def _batches(tasks: Sequence[Task], size: int, rng: np.random.Generator) -> Iterator[list[Task]]:
    """Yield batches without end. Each has tasks of one source; sources come in proportion to their tasks."""
    of: dict[str, list[Task]] = {}
    for task in tasks:
        of.setdefault(task.source, []).append(task)
    while True:
        batches = []
        for found in of.values():
            order = rng.permutation(len(found))
            batches += [[found[i] for i in order[at : at + size]] for at in range(0, len(order) - size + 1, size)]
        for place in rng.permutation(len(batches)):
            yield batches[place]


def _schedule(step: int, steps: int) -> float:
    warm = max(1, int(0.06 * steps))
    if step < warm:
        return (step + 1) / warm
    return float(0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def _losses(
    model: CrossEncoder,
    batch: Sequence[Task],
    queries: Texts,
    passages: Texts,
    recipe: Recipe,
    rng: np.random.Generator,
) -> tuple[list[Tensor], float]:
    """Return the three losses of a step, and how often the gold is first among the passages of its own group."""
    asked = np.array([task.query for task in batch])
    groups = np.stack([_group(task, len(passages.ids), recipe, rng) for task in batch])
    shown, own = np.unique(groups, return_inverse=True)
    own = torch.from_numpy(own.reshape(groups.shape)).to(device)
    query, query_away = _encode(model, queries, asked, documents=False)
    document, document_away = _encode(model, passages, shown, documents=True)
    teacher, sparse = teach(model.splade, queries, asked, passages, shown)
    sparse = model.splade.weight * sparse
    late = model.head.all_pairs(query, document) + sparse
    difference = late - teacher
    late_loss = (difference - difference.mean(-1, keepdim=True)).square().mean()

    others = late.detach().scatter(1, own, -1e4).topk(recipe.read).indices
    read = torch.cat([own, others], 1)  # (queries, 1 + negatives + others); the gold comes first
    rows = torch.arange(len(batch), device=device).repeat_interleave(read.shape[1])
    flat = read.flatten()
    asking = States(query.values[rows], query.mask[rows])
    logits = model.compared(asking, States(document.values[flat], document.mask[flat])).view(read.shape)
    logits = logits + sparse.gather(1, read)
    taught = teacher.gather(1, read)
    hidden = taught > taught[:, :1] + recipe.margin
    soft = torch.tensor([1.0 if task.weak else recipe.soft for task in batch], device=device)[:, None]
    target = soft * taught.masked_fill(hidden, -1e4).softmax(-1)
    target[:, :1] += 1 - soft
    logits = logits.masked_fill(hidden, -1e4)
    loss = -(target * logits.log_softmax(-1)).sum(-1).mean()
    hits = float((logits[:, : own.shape[1]].argmax(-1) == 0).float().mean())
    return [recipe.gold * loss, recipe.late * late_loss, recipe.keep * (query_away + document_away) / 2], hits


def _group(task: Task, passages: int, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.int64]:
    top = rng.choice(task.top, min(recipe.top, len(task.top)), replace=False)
    near = task.near[rng.permutation(len(task.near))[: recipe.near]]
    missing = recipe.top + recipe.near - len(top) - len(near)
    return np.concatenate([[task.gold], top, near, rng.integers(passages, size=missing)])


def _encode(model: CrossEncoder, texts: Texts, which: NDArray[np.int64], *, documents: bool) -> tuple[States, Tensor]:
    """Return states of some texts, and their mean squared distance from the base's, relative to the base's square."""
    base = texts.base.batch(which)
    lengths = base.mask.sum(1).long().tolist()
    order = sorted(range(len(which)), key=lambda place: lengths[place])
    parts, at = [], 0
    while at < len(order):
        end = at + 1
        while end < len(order) and (end + 1 - at) * lengths[order[end]] <= TOKENS:
            end += 1
        rows, width = order[at:end], lengths[order[end - 1]]
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        for row, place in enumerate(rows):
            ids[row, : lengths[place]] = torch.tensor(texts.ids[which[place]])
        ids, mask, theirs = ids.to(device), base.mask[rows, :width], base.values[rows, :width]
        if documents:
            with torch.no_grad():
                said = model.splade.said(ids, model.splade.states(ids, mask))
            states, kept = model.encoder.document(ids, mask.long(), said)
            theirs = kept.take(theirs)
        else:
            states = model.encoder.query(ids, mask)
            theirs = theirs[:, : states.values.shape[1]]
        parts.append((states.values.float(), states.mask, theirs))
        at = end
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    widest = max(part[1].shape[1] for part in parts)
    values, mask, theirs = (_joined(one, widest)[back.to(device)] for one in zip(*parts, strict=True))
    away = (values - theirs).square().sum(-1) / theirs.square().sum(-1).clamp(min=1e-6)
    return States(values, mask), (away * mask).sum() / mask.sum()


def _joined(parts: Sequence[Tensor], width: int) -> Tensor:
    """Join parts (some, tokens, ...) of a batch, padded with zeros to `width` tokens."""
    return torch.cat([nn.functional.pad(part, (0, 0) * (part.ndim - 2) + (0, width - part.shape[1])) for part in parts])
