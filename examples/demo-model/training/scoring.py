"""Scores of answers against what make_eval.py wrote."""

import json
import re

from questions import article
from shapes import CLASSES
from world import COLOURS

_PAIR = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(CLASSES)})\b", re.IGNORECASE)


def pixels_of(box, scene):
    """A box of the model in pixels."""
    side = max(scene["width"], scene["height"])
    return [(q + 0.5) / 100 * side for q in box]


def true_pixels(relative, scene):
    return [v * (scene["width"], scene["height"])[i % 2] for i, v in enumerate(relative)]


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    area = lambda r: max(0, r[2] - r[0]) * max(0, r[3] - r[1])
    return w * h / (area(a) + area(b) - w * h)


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def box_of(value):
    box = value.get("box") if isinstance(value, dict) else None
    return box if isinstance(box, list) and len(box) == 4 and all(isinstance(v, int) for v in box) else None


class Scores:
    """Sums over scenes; `table()` gives the measures."""

    def __init__(self):
        self.right, self.asked, self.ious = {}, {}, []
        self.lists, self.captions = [0, 0, 0], [0, 0, 0]        # hits, said, true
        self.confusion, self.held_out, self.caption_exact = {}, [0, 0], [0, 0]

    def mark(self, task, right):
        self.right[task] = self.right.get(task, 0) + bool(right)
        self.asked[task] = self.asked.get(task, 0) + 1

    def add(self, scene, question, answer):
        task = question["task"]
        answer = answer.strip()
        if task in ("exists", "lampOn"):
            words = ("Yes.", "No.") if task == "exists" else ("On.", "Off.")
            self.mark(task, answer == words[0 if question["answer"] else 1])
        elif task == "colour":
            self.mark(task, answer == question["answer"].capitalize() + ".")
        elif task in ("count", "countOf", "signExact"):
            self.mark(task, answer == str(question["answer"]))
        elif task == "leftRight":
            self.mark(task, answer == (article(question["answer"]).capitalize() + "." if question["answer"] else "Nothing."))
        elif task == "absentSaid":
            value = parsed(answer)
            self.mark(task, isinstance(value, dict) and "box" in value and value["box"] is None)
        elif task == "locate":
            box = box_of(parsed(answer))
            self.ious.append(iou(pixels_of(box, scene), true_pixels(question["relativeBox"], scene)) if box else 0.0)
        elif task == "list":
            self.add_list(scene, parsed(answer))
        elif task == "caption":
            self.add_caption(scene, answer)
            self.caption_exact[0] += answer == question["reference"]
            self.caption_exact[1] += 1

    def add_list(self, scene, value):
        said = [(v.get("label"), box_of(v)) for v in value if isinstance(v, dict)] if isinstance(value, list) else []
        left = list(scene["objects"])
        for label, box in said:
            for o in left:
                if box and label == o["label"] and iou(pixels_of(box, scene), true_pixels(o["box"], scene)) >= 0.5:
                    left.remove(o)
                    self.lists[0] += 1
                    break
        self.lists[1] += len(said)
        self.lists[2] += len(scene["objects"])

    def add_caption(self, scene, answer):
        said = {(c.lower(), k.lower()) for c, k in _PAIR.findall(answer)}
        true = {(o["colour"], o["class"]) for o in scene["objects"]}
        for total, n in enumerate((len(said & true), len(said), len(true))):
            self.captions[total] += n
        for o in scene["objects"]:
            if o.get("heldOut"):
                self.held_out[0] += (o["colour"], o["class"]) in said
                self.held_out[1] += 1
        # One missing and one wrong pair of the same colour is a confusion of classes.
        for c, k in true - said:
            for c2, k2 in said - true:
                if c == c2:
                    self.confusion[k, k2] = self.confusion.get((k, k2), 0) + 1

    def table(self):
        share = {t: self.right[t] / self.asked[t] for t in self.asked}
        f1 = lambda s: 2 * s[0] / max(1, s[1] + s[2])
        keys = ["exists", "colour", "count", "countOf", "leftRight", "lampOn", "signExact"]
        n = max(1, len(self.ious))
        return {**{k: share.get(k, 0.0) for k in keys},
                "locate@0.5": sum(i >= 0.5 for i in self.ious) / n, "locateMeanIoU": sum(self.ious) / n,
                "listF1@0.5": f1(self.lists), "captionF1": f1(self.captions), "absentSaid": share.get("absentSaid", 0.0)}
