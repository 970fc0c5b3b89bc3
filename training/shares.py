"""How much the similarity should count: the table that `MIXTURE`'s shares of it, and its scale, were chosen from."""

import torch

from training.groups import Groups
from training.models import score
from training.teachers import Teachers, similarity
from training.train import ndcg

SHARES, GROUPS = [place / 10 for place in range(11)], 256  # groups of each kind


def print_table(teachers: Teachers, held_out: Groups) -> None:
    """Print the gold's nDCG by kind of text and share, and below it each teacher's mean and deviation."""
    device, everything = teachers.cross["classifier.weight"].device, []
    print("| kind |", *(f"{share} |" for share in SHARES))
    print("|---" * (1 + len(SHARES)) + "|")
    for kind in list(held_out.shares):
        held_out.shares = {kind: 1.0}
        batches = [held_out[step].to(device) for step in range(-(-GROUPS // held_out.size))]
        cross = torch.cat([score(teachers.cross, batch.pairs, batch.pair_starts)[0] for batch in batches])
        similar = torch.cat([similarity(teachers.similar, batch) for batch in batches])
        print(f"| {kind} |", *(f"{ndcg(torch.lerp(cross, similar, share)):.3f} |" for share in SHARES), flush=True)
        everything.append(torch.stack([cross, similar]))
    for name, logits in zip(("cross-encoder", "similarity"), torch.cat(everything, 1), strict=True):
        print(f"{name}: mean {logits.mean():.1f}, deviation {logits.std():.1f}")
