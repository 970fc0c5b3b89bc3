"""Training: the student's logits, order and states are pulled to the teachers' and to known answers."""

import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from training.groups import CANDIDATES, Batch, Groups
from training.models import Weights, layers, matching, save, score, to
from training.teachers import Teachers

MSE, KL, STATES = 0.1, 0.5, (5.0, 0.5)
"""Weights of the losses; that of the states falls over the run."""
WARM_UP, VALIDATIONS, HELD_OUT = 0.02, 12, 2048  # share of the run; how often it is validated; pairs for that


def losses(student: Weights, teachers: Teachers, batch: Batch, states_weight: float) -> Tensor:
    """Return the loss of a batch. The student calculates in the teachers' number format, its gradients are float32."""
    theirs, expected = teachers(batch)
    ours, found = score(to(student, expected[0].dtype), batch.pairs, batch.pair_starts)
    answer = torch.eye(CANDIDATES, device=ours.device)[0]  # the first of each group's candidates
    order = theirs.view(-1, CANDIDATES).softmax(-1).lerp(answer, batch.shares[:, 1:])
    kl = functional.kl_div(ours.view(-1, CANDIDATES).log_softmax(-1), order, reduction="batchmean")
    targets = [expected[layer] for layer in matching(layers(student), of=layers(teachers.cross))[:-1]]
    states = [functional.mse_loss(*both) for both in zip(found, targets, strict=True)]
    return MSE * functional.mse_loss(ours, theirs) + KL * kl + states_weight * torch.stack(states).float().mean()


def ndcg(logits: Tensor) -> float:
    """Return the mean nDCG of the gold, which is the first of each group's candidates; ties count against it."""
    groups = logits.view(-1, CANDIDATES)
    return float((1 / torch.log2(2.0 + (groups[:, 1:] >= groups[:, :1]).sum(1))).mean())


def evaluate(student: Weights, batches: list[tuple[Batch, Tensor]]) -> dict[str, float]:
    """Return how many pairs of candidates are in the teachers' order, the MSE, and the gold's nDCG by both."""
    with torch.no_grad():
        ours = torch.cat([score(student, batch.pairs, batch.pair_starts)[0] for batch, _ in batches])
    both = torch.stack([ours, torch.cat([theirs for _, theirs in batches])])
    one, other = torch.triu_indices(CANDIDATES, CANDIDATES, 1, device=both.device)
    first = both.view(2, -1, CANDIDATES)[..., one] > both.view(2, -1, CANDIDATES)[..., other]
    order, mse = (first[0] == first[1]).float().mean().item(), functional.mse_loss(*both).item()
    return {"order": order, "mse": mse, "ndcg": ndcg(both[0]), "teachers' ndcg": ndcg(both[1])}


def train(
    student: Weights, teachers: Teachers, groups: Groups, held_out: Groups, run: Path, *, pairs: int | None = None,
    seconds: float | None = None, rate: float = 3e-4, workers: int = 0,
) -> None:  # fmt: skip
    """Train on `pairs` pairs or for `seconds`. The folder `run / "model"` gets the model of the best validation.

    `run` also keeps a checkpoint: with the same folder, training goes on, and the time before counts.
    """
    step, before, reached, best, moments, file = 0, 0.0, -1, 0.0, None, run / "checkpoint"
    device, dtype = teachers.cross["classifier.weight"].device, teachers.cross["classifier.weight"].dtype
    if file.exists():
        step, before, reached, best, state, moments = torch.load(file, map_location=device)
        student = student | state
    trained = {name: values for name, values in student.items() if values.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), rate, weight_decay=0.01, fused=True)
    if moments:
        optimizer.load_state_dict(moments)
    validation = [held_out[place].to(device) for place in range(-(-HELD_OUT // (held_out.size * CANDIDATES)))]
    judged = [(batch, teachers(batch)[0]) for batch in validation]
    loading = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    started = time.perf_counter()
    for batch in DataLoader(groups, None, sampler=range(step, 10**9), **loading):
        done, spent = step * groups.size * CANDIDATES, before + time.perf_counter() - started
        share = min(1.0, done / pairs if pairs else spent / seconds if seconds else 1.0)
        if int(share * VALIDATIONS) != reached:  # less, when a run goes on with a larger budget
            reached = int(share * VALIDATIONS)
            found = evaluate(to(student, dtype), judged)
            print(f"{spent:6.0f} s {done:9} pairs", *(f" {name} {one:.4f}" for name, one in found.items()), flush=True)
            if found["order"] > best:
                best = found["order"]
                save(student, run / "model")
            torch.save((step, spent, reached, best, trained, optimizer.state_dict()), file.with_suffix(".part"))
            file.with_suffix(".part").rename(file)
        if share >= 1:
            return
        for part in optimizer.param_groups:
            part["lr"] = rate * min(1.0, share / WARM_UP + 0.01, (1 - share) / (1 - WARM_UP))
        loss = losses(student, teachers, batch.to(device), STATES[0] + share * (STATES[1] - STATES[0]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        step += 1
