"""Trains and packs the embedded cross-encoder: `python -m training --data FOLDER --teacher FOLDER --out FOLDER`.

See README.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.base import load_base, load_splade
from training.int8 import smooth
from training.mine import mine
from training.network import Comparison, CrossEncoder, Head
from training.pack import golden, pack
from training.sources import read_sources
from training.states import Texts, device, fast, read, tokenize
from training.teacher import PAD, load_teacher
from training.texts import Source, dumps, loads
from training.train import Recipe, train
from training.unpack import unpack
from training.validate import Judged, calibration, judge, reciprocal_ranks, reliability

GOLDEN = Path(__file__).parents[1] / "tests/models/embedded_pairs.json"
LONGEST_QUERY, LONGEST_PASSAGE = 40, 112
"""Maximum tokens in training. The shipped model reads 512 of query and document together."""
LAST, SHORTEST = 120.0, 60.0
"""Seconds reserved for the steps after training, and the least that training gets."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with the training material")
    parser.add_argument("--teacher", type=Path, required=True, help="the folder of all-mpnet-base-v2")
    parser.add_argument("--out", type=Path, required=True, help="where the model's files go")
    parser.add_argument("--work", type=Path, help="keep and use texts and token states here (6 GB); default: OUT/work")
    parser.add_argument(
        "--start", type=Path, help="go on from this model: the folder of one in the package, or OUT of an earlier run"
    )
    parser.add_argument("--minutes", type=float, default=45, help="from start to end; decides how many steps there are")
    parser.add_argument("--layers", type=int, choices=range(2, 7), default=6, help="so many of the encoder's six")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=float, default=0.25, help="how much of the material; 3.0 is all")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    started = time.perf_counter()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # arithmetic on them is many times slower
    torch.manual_seed(arguments.seed)
    work = arguments.work or arguments.out / "work"
    work.mkdir(parents=True, exist_ok=True)

    sources = _sources(arguments.data, work, arguments.size, arguments.seed)
    for source in sources:
        print(f"{source.name}: {len(source.passages)} passages, {len(source.queries)} queries", flush=True)
    base, tokenizer = load_base()
    quick = copy.deepcopy(base).to(device, fast)

    def read_base(ids: Tensor, mask: Tensor) -> Tensor:
        return quick.query(ids, mask).values

    teacher, its_tokenizer = load_teacher(arguments.teacher)
    asked = [query.text for source in sources for query in source.queries]
    shown = [passage.text for source in sources for passage in source.passages]
    read_both = []
    for texts, longest in ((asked, LONGEST_QUERY), (shown, LONGEST_PASSAGE)):
        ids, its_ids = tokenize(tokenizer, texts, longest), tokenize(its_tokenizer, texts, longest)
        theirs = read(teacher, "teacher", its_ids, PAD, work)
        read_both.append(Texts(ids, read(read_base, "base", ids, 0, work), theirs))
    queries, passages = read_both
    tasks = mine(sources, queries.base.means, passages.base.means, arguments.seed)
    print(f"mined {len(tasks)} queries' negatives, {time.perf_counter() - started:.0f} s from the start", flush=True)

    recipe = Recipe()
    splade = load_splade(tokenizer)
    splade.look_among(queries.ids[::4])
    some = np.random.default_rng(arguments.seed).choice(len(tasks), 200, replace=False)
    pairs = [
        (queries.ids[task.query], passages.ids[passage])
        for task in (tasks[place] for place in some)
        for passage in (task.gold, *task.top[:1])
    ]
    start = CrossEncoder(base, Head(), Comparison(), splade, cls=tokenizer.token_to_id("[CLS]"))
    start = smooth(start, pairs)
    if arguments.start is not None:
        start.load_state_dict(unpack(arguments.start, start, tokenizer, pairs[0]))
    start.encoder.thin(arguments.layers)
    judged = Judged(tasks, arguments.seed)
    report: dict[str, object] = {"seed": arguments.seed, "recipe": asdict(recipe)}
    report["base"] = reciprocal_ranks(judged, judged.base(queries, passages))
    report["teacher"] = reciprocal_ranks(judged, judged.teacher(splade, queries, passages))
    print(json.dumps(report), flush=True)
    left = 60 * arguments.minutes - LAST - (time.perf_counter() - started)
    if left < SHORTEST:
        parser.error(
            f"reading took {(time.perf_counter() - started) / 60:.0f} of {arguments.minutes:.0f} minutes, so none are"
            f" left to train in; run this again, which takes what was read from {work}, or with a smaller --size"
        )
    model = train(start, tasks, queries, passages, recipe, seed=arguments.seed, seconds=left)
    found = judge(judged, model, queries, passages)
    report["trained"] = reciprocal_ranks(judged, found)
    scale, offset = calibration(judged, found)
    report["calibration"] = [scale, offset]
    report["reliability"] = reliability(judged, found, lambda logits: np.asarray(scale * logits + offset))
    model.calibration.copy_(torch.tensor([scale, offset]))
    model.requires_grad_(False)
    pack(model, tokenizer, pairs, arguments.out)
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
