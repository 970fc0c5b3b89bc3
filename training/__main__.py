"""Trains and packs the embedded cross-encoder: `python -m training --data FOLDER --out FOLDER`. See README.md."""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from training.base import load_base
from training.mine import mine
from training.network import CrossEncoder, Interaction
from training.pack import golden, pack
from training.sources import read_sources
from training.states import encode, tokenize
from training.texts import Source, dumps, loads
from training.train import Recipe, train
from training.validate import Judged, calibration, judge, reciprocal_ranks, reliability

GOLDEN = Path(__file__).parents[1] / "tests/models/embedded_pairs.json"
LONGEST_QUERY, LONGEST_PASSAGE = 64, 160
"""Tokens; what is shipped reads 512 of both."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the training material")
    parser.add_argument("--out", type=Path, required=True, help="where the model's files go")
    parser.add_argument("--work", type=Path, help="keep and use texts and token states here (2 GB); default: OUT/work")
    parser.add_argument("--minutes", type=float, default=45, help="in all; decides how many pairs are trained on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=float, default=1.0, help="how much of the material; with a GPU 3.0 is all")
    parser.add_argument("--groups", type=int, default=Recipe().groups, help="at most so many groups are trained on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trained", type=Path, help="take these weights, which an earlier run left in --work")
    arguments = parser.parse_args()
    started = time.perf_counter()
    torch.set_num_threads(arguments.threads)
    work = arguments.work or arguments.out / "work"
    work.mkdir(parents=True, exist_ok=True)

    sources = _sources(arguments.data, work, arguments.size, arguments.seed)
    for source in sources:
        print(f"{source.name}: {len(source.passages)} passages, {len(source.queries)} queries", flush=True)
    encoder, tokenizer = load_base()
    asked = [query.text for source in sources for query in source.queries]
    shown = [passage.text for source in sources for passage in source.passages]
    queries = encode(encoder, tokenize(tokenizer, asked, LONGEST_QUERY), work)
    passages = encode(encoder, tokenize(tokenizer, shown, LONGEST_PASSAGE), work)
    tasks = mine(sources, queries.means, passages.means, arguments.seed)
    print(f"mined {len(tasks)} groups in {time.perf_counter() - started:.0f} s", flush=True)

    recipe = replace(Recipe(), groups=arguments.groups)
    left = arguments.minutes * 60 - (time.perf_counter() - started) - 120  # two minutes are for what follows
    judged = Judged(tasks, arguments.seed)
    start = Interaction(encoder.cpu()).eval()
    report: dict[str, object] = {"recipe": asdict(recipe), "seed": arguments.seed}
    report["cosine"] = reciprocal_ranks(judged, judged.cosines(queries, passages))
    report["untrained"] = reciprocal_ranks(judged, judge(judged, start, queries, passages))
    interaction = copy.deepcopy(start)
    if arguments.trained:
        interaction.load_state_dict(torch.load(arguments.trained))
    else:
        interaction = train(interaction.train(), tasks, queries, passages, recipe, seed=arguments.seed, seconds=left)
        torch.save(interaction.state_dict(), work / f"trained-{arguments.seed}.pt")
    with torch.no_grad():
        for ours, theirs in zip(interaction.parameters(), start.parameters(), strict=True):
            ours.lerp_(theirs, 1 - recipe.blend)
    found = judge(judged, interaction, queries, passages)
    report["trained"] = reciprocal_ranks(judged, found)
    scale, offset = calibration(judged, found)
    report["calibration"] = [scale, offset]
    report["reliability"] = reliability(judged, found, lambda logits: np.asarray(scale * logits + offset))
    cls = tokenizer.token_to_id("[CLS]")
    model = CrossEncoder(encoder.cpu(), interaction, cls=cls, scale=scale, offset=offset).eval()
    pack(model, tokenizer, arguments.out)
    golden(model, tokenizer, GOLDEN, arguments.out / "embedded_golden.json")
    report["minutes"] = round((time.perf_counter() - started) / 60, 1)
    (arguments.out / "training.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


def _sources(data: Path, work: Path, size: float, seed: int) -> list[Source]:
    file = work / f"sources-{size}-{seed}.json"
    if not file.exists():
        unfinished = file.with_suffix(".part")
        unfinished.write_text(dumps(read_sources(data, size=size, seed=seed)), encoding="utf-8")
        shutil.move(unfinished, file)
    return loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
