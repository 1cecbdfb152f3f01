"""Renders the sample clip: a tabletop where things come, move and go, by a fixed script, with its ground truth.

    make_clip.py [--out FOLDER]        needs ffmpeg with libx264

Writes tabletop.mp4 (640 x 480, 15 frames a second, H.264) and tabletop.jsonl with one line a frame:

    {"frame": 0, "time": 0.0, "stable": true,
     "objects": [{"label": "red cup", "colour": "red", "class": "cup", "box": [x1, y1, x2, y2], "visible": 1.0,
                  "on": true (lamps), "text": "OPEN" (signs)}]}

Things are sorted from left to right; boxes are fractions of width and height, clipped to the frame;
`visible` is the share of the box inside the frame. `stable` is false while anything moves.
"""

import argparse
import json
import math
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "demo-model" / "training"))

from render import draw_scene, expose  # noqa: E402
from world import LEGIBLE, Scene, make_object, move_object  # noqa: E402

WIDTH, HEIGHT, RATE, SECONDS = 640, 480, 15, 40
MOVE = 1.2                       # seconds that a movement takes
ASPECT = WIDTH / HEIGHT
LIGHT = (0.98, 1.0, 0.97, 2.0, 0.12)
STYLE = 33


@dataclass
class Actor:
    """A thing and its path: (start of the movement, x, y) in fractions of the frame; the first entry is where it begins."""
    cls: str
    colour: str
    size: float
    path: list
    tilt: float = 0.0
    text: str = ""
    lit: tuple = ()              # (from, to) seconds


ACTORS = [
    Actor("cup", "red", 0.15, [(0, 0.17, 0.70), (12.0, 0.55, 0.80), (33.5, 0.55, 1.35)], tilt=4),
    Actor("book", "blue", 0.16, [(0, 0.86, 0.62), (21.0, 1.30, 0.62)], tilt=-8),
    Actor("lamp", "yellow", 0.16, [(0, 0.63, -0.35), (4.0, 0.63, 0.34)], tilt=-3, lit=(8.5, 30.0)),
    Actor("sign", "white", 0.09, [(0, -0.35, 0.26), (16.5, 0.255, 0.26)], tilt=2, text="OPEN"),
    Actor("apple", "green", 0.14, [(0, 1.25, 0.55), (25.5, 0.82, 0.58)], tilt=6),
]


def position(path, time):
    """Where a thing is, and whether it moves."""
    _, x, y = path[0]
    moving = False
    for start, nx, ny in path[1:]:
        if time <= start:
            break
        share = min(1.0, (time - start) / MOVE)
        moving = share < 1
        ease = 0.5 - 0.5 * math.cos(math.pi * share)
        x, y = x + (nx - x) * ease, y + (ny - y) * ease
    return x, y, moving


def scene_at(time):
    width, height = math.sqrt(ASPECT), 1 / math.sqrt(ASPECT)
    objects, stable = [], True
    for actor in ACTORS:
        x, y, moving = position(actor.path, time)
        on = bool(actor.lit) and actor.lit[0] <= time < actor.lit[1]
        obj = make_object(random.Random(actor.cls), actor.cls, actor.colour, actor.size * math.sqrt(width), text=actor.text,
                          on=on, tilt=actor.tilt, legible=LEGIBLE * width)
        cx, cy = obj.centre
        move_object(obj, x * width - cx, y * height - cy)
        x0, y0, x1, y1 = obj.box
        if x1 > 0 and y1 > 0 and x0 < width and y0 < height:
            objects.append(obj)
            stable &= not moving
    objects.sort(key=lambda o: o.centre[0])
    return Scene(width, height, objects, list(range(len(objects))), STYLE), stable


def truth(scene, obj):
    x0, y0, x1, y1 = scene.clipped_box(obj)
    full = (obj.box[2] - obj.box[0]) * (obj.box[3] - obj.box[1])
    entry = {"label": obj.label, "colour": obj.colour, "class": obj.cls, "box": [round(v, 4) for v in scene.relative_box(obj)],
             "visible": round((x1 - x0) * (y1 - y0) / full, 3)}
    if obj.cls == "lamp":
        entry["on"] = obj.on
    if obj.cls == "sign":
        entry["text"] = obj.text
    return entry


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=HERE)
    args = p.parse_args()
    numbers = np.random.Generator(np.random.SFC64(1))
    encoder = subprocess.Popen(
        ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE),
         "-i", "-", "-c:v", "libx264", "-preset", "slow", "-crf", "26", "-pix_fmt", "yuv420p", "-g", str(2 * RATE),
         "-movflags", "+faststart", str(args.out / "tabletop.mp4")], stdin=subprocess.PIPE)
    with open(args.out / "tabletop.jsonl", "w") as lines:
        for frame in range(RATE * SECONDS):
            time = frame / RATE
            scene, stable = scene_at(time)
            image = expose(draw_scene(scene, WIDTH, HEIGHT, supersample=2), LIGHT, 0.8, 2.5, numbers)
            encoder.stdin.write(image.tobytes())
            lines.write(json.dumps({"frame": frame, "time": round(time, 3), "stable": stable,
                                    "objects": [truth(scene, o) for o in scene.objects]}) + "\n")
    encoder.stdin.close()
    sys.exit(encoder.wait())


if __name__ == "__main__":
    main()
