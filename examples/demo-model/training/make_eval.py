"""Renders fresh scenes and writes what is asked about them.

    make_eval.py --scenes N --seed S [--variant plain|4:3|16:9|dark|bright] --out DIR [--format png|jpg]

DIR/scenes.jsonl has one line a scene:

    {"image": "00000.png", "width": 384, "height": 384,
     "objects": [{"label": "red cup", "colour": "red", "class": "cup", "box": [x1, y1, x2, y2],
                  "on": true (lamps), "text": "K7" (signs)}],        from left to right; box as fractions of
                                                                      width and height, clipped to the frame
     "questions": [{"task": ..., "question": "Where is the cup?", "reference": "the ideal answer", ...}]}

Tasks and the further fields of a question:

    exists      answer true | false                     the model says "Yes." | "No."
    colour      answer "red"                            "Red."
    count       answer 3                                "3"
    countOf     answer 2                                "2"
    leftRight   answer "red cup" | null                 "A red cup." | "Nothing."
    lampOn      answer true | false                     "On." | "Off."
    signExact   answer "K7"                             "K7"
    locate      label, box [x1,y1,x2,y2] in 0..99,      {"label":"cup","box":[12,30,45,60]}
                relativeBox (as in objects)
    absentSaid  label, box null                         {"label":"cup","box":null}
    list        objects [{label, box in 0..99}]         [{"label":"red cup","box":[12,30,45,60]},...]
    caption     objects [{colour, class}]               "A red cup on the left and ..."

A box of the model counts hundredths of the longer side from the top left corner of the picture; the
value q stands for (q + 0.5) / 100 of the longer side. Compare such a box with `relativeBox` or with
the box in `objects`, which are not rounded.

Scenes come from the stream "evaluation/S", training from "training/...": they never share one.
Evaluation shows the colour and class pairs that training never saw; `heldOut` marks the objects.
"""

import argparse
import json
from pathlib import Path

from questions import Asker
from render import draw_scene, photograph
from world import HELD_OUT, sample_scene, scene_rng

SIZES = {"plain": (384, 384), "dark": (384, 384), "bright": (384, 384), "4:3": (448, 336), "16:9": (512, 288)}


def describe_object(scene, o):
    entry = {"label": o.label, "colour": o.colour, "class": o.cls, "box": [round(v, 4) for v in scene.relative_box(o)]}
    if o.cls == "lamp":
        entry["on"] = o.on
    if o.cls == "sign":
        entry["text"] = o.text
    if (o.colour, o.cls) in HELD_OUT:
        entry["heldOut"] = True
    return entry


def ask_all(rng, scene):
    asker = Asker(rng, scene)
    questions = []
    for task, ask in (("exists", asker.exists), ("colour", asker.colour), ("count", asker.count), ("countOf", asker.count_of),
                      ("leftRight", asker.left_right), ("lampOn", asker.lamp), ("signExact", asker.sign),
                      ("locate", lambda: asker.locate(absent=False)), ("absentSaid", lambda: asker.locate(absent=True)),
                      ("list", asker.list), ("caption", asker.caption)):
        # A few tries: a method may choose a neighbouring task ("There is no lamp.") or find nothing to ask.
        for _ in range(6):
            q = ask()
            if q and q.task == task:
                questions.append({"task": task, "question": q.text, "reference": q.answer_text, **q.expected})
                break
    return questions


def make_scene(seed, index, variant):
    """The picture and its line. Plain, dark and bright show the same things in different light."""
    w, h = SIZES[variant]
    rng = scene_rng("evaluation", seed, index)
    scene = sample_scene(rng, w / h)
    questions = ask_all(rng, scene)
    light = variant if variant in ("dark", "bright") else "plain"
    image = photograph(draw_scene(scene, w, h), scene_rng("evaluation", seed, index, "light"), light)
    return image, {"width": w, "height": h, "objects": [describe_object(scene, o) for o in scene.objects], "questions": questions}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scenes", type=int, required=True)
    p.add_argument("--seed", required=True)
    p.add_argument("--variant", choices=list(SIZES), default="plain")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--format", choices=["png", "jpg"], default="png")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "scenes.jsonl", "w") as lines:
        for i in range(args.scenes):
            image, line = make_scene(args.seed, i, args.variant)
            name = f"{i:05d}.{args.format}"
            image.save(args.out / name, **({"compress_level": 1} if args.format == "png" else {"quality": 90}))
            lines.write(json.dumps({"image": name, **line}) + "\n")


if __name__ == "__main__":
    main()
