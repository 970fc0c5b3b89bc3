"""`python -m training`: see `README.md`."""

import argparse
import gzip
import os
import pickle
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from ksdk_rerank.engines.hardware import has_bfloat16
from tests.weights.lay_out import TOKENIZER
from training import inputs
from training.corpus import Corpus, prepare
from training.groups import CANDIDATES, Groups
from training.models import student_of, to
from training.shares import print_table
from training.teachers import Teachers, load_teachers, unpack
from training.texts import read_units
from training.train import train


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="keeps every step; the same command goes on there")
    parser.add_argument("--inputs", type=Path, nargs="+", default=[], help="folders with the files of `inputs.md`")
    parser.add_argument("--prepare", action="store_true", help="stop there; training then needs --work alone")
    parser.add_argument("--shares", action="store_true", help="print what the teachers say by share, and stop")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the pairs that are drawn")
    parser.add_argument("--start", type=Path, help="a model of an earlier run to begin with, instead of the teacher")
    parser.add_argument("--pairs", type=int, help="how many to train on, instead of --minutes")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=1024 if gpu else 64, help="pairs in a step")
    parser.add_argument("--rate", type=float, default=6e-4 if gpu else 3e-4, help="the learning rate at its highest")
    chosen = parser.parse_args()
    work, content, device = chosen.work, partial(inputs.read, folders=chosen.inputs), "cuda" if gpu else "cpu"
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "model.onnx").exists():
        unpack(content, work)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    if not (work / "corpus.gz").exists():
        prepared = prepare(read_units(content), tokenizer)
        (work / "corpus.gz").write_bytes(gzip.compress(pickle.dumps(prepared), mtime=0))
    if chosen.prepare:
        return
    corpus: Corpus = pickle.loads(gzip.decompress((work / "corpus.gz").read_bytes()))
    size = chosen.batch // CANDIDATES
    groups, held_out = (Groups(corpus, tokenizer, flag, size, 0 if flag else chosen.seed) for flag in (False, True))
    teachers = load_teachers(work, device)
    start = to(load_file(chosen.start / "model.safetensors"), device) if chosen.start else teachers.cross
    student = student_of(start, chosen.layers)
    teachers = Teachers(*(to(one, torch.bfloat16 if gpu or has_bfloat16() else torch.float32) for one in teachers))
    if chosen.shares:
        return print_table(teachers, held_out)
    run, workers = work / f"{chosen.layers}-layers-seed-{chosen.seed}", (os.cpu_count() or 3) - 2 if gpu else 0
    budget = {"pairs": chosen.pairs, "seconds": 60 * chosen.minutes}
    train(student, teachers, groups, held_out, run, **budget, rate=chosen.rate, workers=workers)
    for name in TOKENIZER:
        (run / "model" / name).write_bytes((work / name).read_bytes())


if __name__ == "__main__":
    main()
