"""Measures a model on folders written by make_eval.py, in this training code.

    evaluate.py FOLDER... [--checkpoint FOLDER | --saved FILE] [--int4] [--scenes N] [--json]

The measures that count come from the SDK; these are for watching training and for comparison.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image

from generate import answers, picture_states
from model import Mllama
from quantise import quantise_text
from scoring import Scores
from tokenizer import Tokenizer
from weights import load_published, read_safetensors

CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoint"


def load(args):
    if args.saved:
        saved = torch.load(args.saved)
        model = Mllama(saved["config"], compute=getattr(torch, args.compute))
        model.load_state_dict(saved["model"])
    else:
        model = Mllama(json.loads((args.checkpoint / "config.json").read_text()), compute=getattr(torch, args.compute))
        load_published(model, read_safetensors(args.checkpoint / "model.safetensors"))
    quantise_text(model, args.int4)
    return model.eval()


def evaluate(model, tokenizer, folder, limit=None, tasks=None):
    scenes = [json.loads(line) for line in open(folder / "scenes.jsonl")][:limit]
    states, counts = picture_states(model, [Image.open(folder / s["image"]) for s in scenes])
    scores, wrong = Scores(), []
    by_task = {}
    for i, scene in enumerate(scenes):
        for q in scene["questions"]:
            if tasks is None or q["task"] in tasks:
                by_task.setdefault(q["task"], []).append((i, q))
    for task, asked in by_task.items():
        rows = torch.tensor([i for i, _ in asked])
        said = answers(model, tokenizer, states[rows], counts[rows], [q["question"] for _, q in asked])
        for (i, q), answer in zip(asked, said):
            scores.add(scenes[i], q, answer)
            if answer != q["reference"]:
                wrong.append((i, q["question"], q["reference"], answer))
    return scores, wrong


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    p.add_argument("--saved", type=Path)
    p.add_argument("--int4", action="store_true")
    p.add_argument("--compute", default="bfloat16")
    p.add_argument("--scenes", type=int)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--show", type=int, default=0, help="print this many wrong answers")
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.load(CHECKPOINT / "tokenizer.json")
    model = load(args)
    for folder in args.folders:
        scores, wrong = evaluate(model, tokenizer, folder, args.scenes)
        table = {k: round(v, 4) for k, v in scores.table().items()}
        if args.json:
            print(json.dumps({"folder": folder.name, "int4": args.int4, **table}), flush=True)
        else:
            print(f"{folder.name} {'int4' if args.int4 else 'float'}  " + "  ".join(f"{k} {v:.3f}" for k, v in table.items()))
            print(f"  held-out pairs in captions {scores.held_out}, captions exact {scores.caption_exact}")
            print("  classes confused:", sorted(((n, *k) for k, n in scores.confusion.items()), reverse=True)[:8], flush=True)
        for i, *rest in wrong[:args.show]:
            print("   ", i, *rest, sep=" | ")


if __name__ == "__main__":
    main()
