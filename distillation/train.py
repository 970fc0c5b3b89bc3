"""Training: the student's logits, order and states are pulled to the teacher's, on ever new pairs."""

import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from distillation.groups import CANDIDATES, Bucket, Groups
from distillation.models import Bert, matching
from distillation.teachers import Teachers

MSE, KL, STATES = 0.1, 0.5, (5.0, 0.5)
"""Weights of the losses; that of the states falls over the run."""
WARM_UP, VALIDATIONS, HELD_OUT = 0.02, 12, 2048  # share of the run; how often it is validated; pairs for that


def score(model: Bert | Teachers, batch: list[Bucket]) -> tuple[Tensor, list[list[Tensor]]]:
    """Return the logits (groups, candidates), and for each bucket the states after each layer."""
    device, states = next(model.parameters()).device, []
    logits = torch.zeros(sum(len(bucket.places) for bucket in batch), device=device)
    for bucket in batch:
        places, *read = (one.to(device, non_blocking=True) for one in bucket)
        some, after = model(*read)
        logits = logits.index_copy(0, places, some)
        states.append(after)
    return logits.view(-1, CANDIDATES), states


def losses(student: Bert, teachers: Teachers, batch: list[Bucket], states_weight: float) -> Tensor:
    """Return the loss of a batch. Teachers in bfloat16 mean that the student calculates so, too."""
    with torch.no_grad():
        theirs, expected = score(teachers, batch)
    with torch.autocast(
        theirs.device.type, torch.bfloat16, enabled=next(teachers.parameters()).dtype == torch.bfloat16
    ):
        ours, found = score(student, batch)
    layers = matching(len(student.layers), len(teachers.layers))
    states = torch.cat([state.flatten() for after in found for state in after]).float()
    targets = torch.cat([after[layer].flatten() for after in expected for layer in layers]).float()
    kl = functional.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), reduction="batchmean", log_target=True)
    mse = functional.mse_loss
    return MSE * mse(ours, theirs) + KL * kl + states_weight * mse(states, targets)


@torch.no_grad()
def evaluate(student: Bert, batches: list[tuple[list[Bucket], Tensor]]) -> dict[str, float]:
    """Return how many pairs of candidates are in the teacher's order, the MSE, and the gold's nDCG by both."""
    theirs = torch.cat([logits for _, logits in batches])
    ours = torch.cat([score(student, batch)[0] for batch, _ in batches])
    one, other = torch.triu_indices(CANDIDATES, CANDIDATES, 1)
    same = (ours[:, one] > ours[:, other]) == (theirs[:, one] > theirs[:, other])
    ndcg = [(1 / torch.log2(2.0 + (x[:, 1:] >= x[:, :1]).sum(1))).mean().item() for x in (ours, theirs)]
    mse = functional.mse_loss(ours, theirs).item()
    return {"order": same.float().mean().item(), "mse": mse, "ndcg": ndcg[0], "teacher's ndcg": ndcg[1]}


def train(
    student: Bert, teachers: Teachers, groups: Groups, held_out: Groups, file: Path, *, pairs: int | None = None,
    seconds: float | None = None, rate: float = 3e-4, workers: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Train on `pairs` pairs or for `seconds`; then the student is as it was at the best validation, which is returned.

    `file` is a checkpoint: with the same one, training goes on, and the time before counts.
    """
    device, step, before, reached, best = student.classifier.weight.device, 0, 0.0, -1, {"order": 0.0}
    with torch.no_grad():
        judged = [
            (held_out[place], score(teachers, held_out[place])[0])
            for place in range(-(-HELD_OUT // (held_out.size * CANDIDATES)))
        ]
    trained = [one for one in student.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, rate, weight_decay=0.01, fused=device.type == "cuda")
    kept = student.state_dict()
    if file.exists():
        step, before, reached, best, kept, state, moments = torch.load(file, map_location=device)
        student.load_state_dict(state)
        optimizer.load_state_dict(moments)
    started = time.perf_counter()
    for batch in DataLoader(groups, None, sampler=range(step, 10**9), num_workers=workers):  # type: ignore[arg-type]
        done, spent = step * groups.size * CANDIDATES, before + time.perf_counter() - started
        share = min(1.0, done / pairs if pairs else spent / seconds if seconds else 1.0)
        if int(share * VALIDATIONS) != reached:  # less, when a run goes on with a larger budget
            reached = int(share * VALIDATIONS)
            found = evaluate(student, judged)
            print(
                f"{spent:6.0f} s {done:9} pairs", {name: round(value, 4) for name, value in found.items()}, flush=True
            )
            if found["order"] > best["order"]:
                best, kept = found, {name: values.clone() for name, values in student.state_dict().items()}
            content = step, spent, reached, best, kept, student.state_dict(), optimizer.state_dict()
            torch.save(content, file.with_suffix(".part"))
            file.with_suffix(".part").rename(file)
        if share >= 1:
            break
        for part in optimizer.param_groups:
            part["lr"] = rate * min(1.0, share / WARM_UP + 0.01, (1 - share) / (1 - WARM_UP))
        loss = losses(student, teachers, batch, STATES[0] + share * (STATES[1] - STATES[0]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
    student.load_state_dict(kept)
    return best
