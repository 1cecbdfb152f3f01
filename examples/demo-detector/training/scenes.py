"""Pictures of the demo model's world with the boxes in them, as the detector gets them.

    scenes.py --count N --seed S --out FILE.npz

The world, its rendering and its pairs that training never shows are those of ../../demo-model/training.
"""

import argparse
import random
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[2] / "demo-model" / "training"))

from render import draw_scene, photograph  # noqa: E402
from shapes import CLASSES  # noqa: E402
from world import COLOURS, HELD_OUT, MAX_OBJECTS, sample_scene, scene_rng  # noqa: E402

SIDE = 128
ASPECTS = [(0.40, 1.0), (0.30, 4 / 3), (0.20, 16 / 9), (0.10, 3 / 4)]


def letterbox(image):
    """SIDE x SIDE, the picture at the top left, grey beyond it."""
    scale = SIDE / max(image.size)
    size = [max(1, round(v * scale)) for v in image.size]
    canvas = Image.new("RGB", (SIDE, SIDE), (114, 114, 114))
    canvas.paste(image.resize(size, Image.BILINEAR), (0, 0))
    return canvas, size


def make_picture(rng, avoid=HELD_OUT):
    """(pixels, table of class, colour, x1, y1, x2, y2 in pixels of the letterboxed picture; class -1: no thing)."""
    aspect = rng.choices([a for _, a in ASPECTS], [p for p, _ in ASPECTS])[0]
    longer = round(SIDE * rng.uniform(1.2, 2.6))
    w, h = (longer, round(longer / aspect)) if aspect >= 1 else (round(longer * aspect), longer)
    scene = sample_scene(rng, w / h, avoid)
    light = rng.choices(["plain", "dark", "bright"], [64, 20, 16])[0]
    image, (width, height) = letterbox(photograph(draw_scene(scene, w, h), rng, light))
    table = np.full((MAX_OBJECTS, 6), -1, np.float32)
    for i, thing in enumerate(scene.objects):
        x1, y1, x2, y2 = scene.relative_box(thing)
        table[i] = (CLASSES.index(thing.cls), COLOURS.index(thing.colour), x1 * width, y1 * height, x2 * width, y2 * height)
    return np.asarray(image), table


def numbered(job):
    seed, index = job
    return make_picture(scene_rng("detector", seed, index))


def render(seed, count, processes=2):
    """Pictures [count, SIDE, SIDE, 3] and tables [count, MAX_OBJECTS, 6]."""
    with Pool(processes) as pool:
        made = pool.map(numbered, [(seed, i) for i in range(count)], chunksize=64)
    return np.stack([m[0] for m in made]), np.stack([m[1] for m in made])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, required=True)
    p.add_argument("--seed", default="1")
    p.add_argument("--out", type=Path, required=True)
    args = p.parse_args()
    pictures, tables = render(args.seed, args.count)
    np.savez(args.out, pictures=pictures, tables=tables)


if __name__ == "__main__":
    main()
