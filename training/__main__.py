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
from training.network import CrossEncoder, Head, LateInteraction
from training.pack import golden, pack
from training.sources import read_sources
from training.states import encode, tokenize
from training.texts import Source, dumps, loads
from training.train import Recipe, Texts, train
from training.validate import Judged, calibration, judge, judge_untrained, reciprocal_ranks, reliability

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
    parser.add_argument("--train", action="store_true", help="pack a trained cross-encoder, not late interaction")
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
    asked_ids, shown_ids = tokenize(tokenizer, asked, LONGEST_QUERY), tokenize(tokenizer, shown, LONGEST_PASSAGE)
    queries = Texts(asked_ids, encode(encoder, asked_ids, work))
    passages = Texts(shown_ids, encode(encoder, shown_ids, work))
    tasks = mine(sources, queries.states.means, passages.states.means, arguments.seed)
    print(f"mined {len(tasks)} groups in {time.perf_counter() - started:.0f} s", flush=True)

    recipe = replace(Recipe(), groups=arguments.groups)
    judged = Judged(tasks, arguments.seed)
    report: dict[str, object] = {"seed": arguments.seed}
    report["cosine"] = reciprocal_ranks(judged, judged.cosines(queries.states, passages.states))
    found = judge_untrained(judged, queries, passages)
    report["late interaction"] = reciprocal_ranks(judged, found)
    encoder = encoder.cpu()
    if arguments.train:
        start = CrossEncoder(encoder, Head()).eval()
        report["recipe"] = asdict(recipe)
        report["untrained"] = reciprocal_ranks(judged, judge(judged, start, queries, passages))
        left = arguments.minutes * 60 - (time.perf_counter() - started) - 180  # what follows takes three minutes
        model = train(copy.deepcopy(start).train(), tasks, queries, passages, recipe, seed=arguments.seed, seconds=left)
        report["trained"] = reciprocal_ranks(judged, judge(judged, model, queries, passages))
        with torch.no_grad():
            for ours, theirs in zip(model.parameters(), start.parameters(), strict=True):
                ours.lerp_(theirs, 1 - recipe.blend)
        found = judge(judged, model, queries, passages)
        report["blended"] = reciprocal_ranks(judged, found)
    scale, offset = calibration(judged, found)
    report["calibration"] = [scale, offset]
    report["reliability"] = reliability(judged, found, lambda logits: np.asarray(scale * logits + offset))
    packed: torch.nn.Module
    if arguments.train:
        model.calibration.copy_(torch.tensor([scale, offset]))
        packed = model
    else:
        packed = LateInteraction(encoder, Head(), cls=tokenizer.token_to_id("[CLS]"), scale=scale, offset=offset)
    packed.eval().requires_grad_(False)
    pack(packed, tokenizer, arguments.out)
    golden(packed, tokenizer, GOLDEN, arguments.out / "embedded_golden.json")
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
