"""Records the logits by which another implementation is compared with this one.

    record_parity.py [--checkpoint FOLDER] [--out FOLDER]

Renders ten small pictures of different shapes (PNG, so that every reader gets the same pixels) and
writes parity.json: per case the question, the prompt's token ids, the logits of the prompt's last row
in float32 arithmetic on the bf16 weights, and the greedy answer.
"""

import argparse
import json
from pathlib import Path

import torch

from dataset import Layout
from generate import answers, picture_states
from make_eval import make_scene
from model import Mllama, causal_mask
from tokenizer import Tokenizer
from weights import load_published, read_safetensors

FOLDER = Path(__file__).resolve().parent.parent
# (task, variant, size): the canvases of two by two tiles that cameras give, and others.
CASES = [("caption", "plain", (240, 240)), ("list", "4:3", (280, 210)), ("locate", "16:9", (320, 180)),
         ("signExact", "plain", (240, 240)), ("countOf", "dark", (224, 224)), ("leftRight", "bright", (224, 224)),
         ("exists", "4:3", (210, 280)), ("colour", "plain", (100, 100)), ("absentSaid", "16:9", (224, 112)),
         ("lampOn", "16:9", (300, 110))]


def scenes():
    """One picture and question for each case: the first scene of the stream that has the task."""
    for k, (task, variant, size) in enumerate(CASES):
        for i in range(100):
            image, scene = make_scene(f"parity/{k}", i, variant)
            found = [q for q in scene["questions"] if q["task"] == task]
            if found:
                yield f"parity-{k}.png", image.resize(size), found[0]
                break


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, default=FOLDER / "checkpoint")
    p.add_argument("--out", type=Path, default=FOLDER / "evaluation")
    args = p.parse_args()
    tokenizer = Tokenizer.load(FOLDER / "checkpoint" / "tokenizer.json")
    model = Mllama(json.loads((args.checkpoint / "config.json").read_text()), compute=torch.float32)
    load_published(model, read_safetensors(args.checkpoint / "model.safetensors"))
    layout, cases = Layout(tokenizer), []
    args.out.mkdir(parents=True, exist_ok=True)
    for name, image, question in scenes():
        image.save(args.out / name, optimize=True)
        states, counts = picture_states(model, [image])
        ids = layout.prompt(question["question"])
        positions = torch.arange(len(ids))[None]
        with torch.no_grad():
            h, _ = model.text(torch.tensor([ids]), positions, causal_mask(len(ids)), positions >= len(layout.start) - 1,
                              model.picture(states), counts)
            logits = model.logits(h[:, -1])[0]
        answer = answers(model, tokenizer, states, counts, [question["question"]])[0]
        cases.append({"image": name, "question": question["question"], "ids": ids, "answer": answer,
                      "logits": [round(v, 6) for v in logits.tolist()]})
    text = json.dumps({"about": "logits of the last prompt row, float32 arithmetic on the bf16 weights, numerics: meta", "cases": cases})
    (args.out / "parity.json").write_text(text.replace('{"image"', '\n{"image"') + "\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
