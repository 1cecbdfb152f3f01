"""What the training-only heads learn: which thing each patch shows, and what is known of that thing."""

import numpy as np
from PIL import Image, ImageDraw

from glyphs import CHARACTERS
from shapes import CLASSES
from world import COLOURS, MAX_OBJECTS

NO_CHARACTER = len(CHARACTERS)
CELL = 7                    # a patch in the coverage map, which has half the canvas' resolution
# Columns of the table of objects.
FIELDS = ["class", "colour", "rank", "sameClass", "sameColour", "leftClass", "leftColour", "rightClass", "rightColour",
          "lamp", "text0", "text1", "text2", "text3", "x1", "y1", "x2", "y2"]


def object_table(scene):
    """[MAX_OBJECTS, len(FIELDS)] integers."""
    table = np.zeros((MAX_OBJECTS, len(FIELDS)), np.int64)
    objects = scene.objects
    nothing = (len(CLASSES), len(COLOURS))
    pair = lambda i: (CLASSES.index(objects[i].cls), COLOURS.index(objects[i].colour)) if 0 <= i < len(objects) else nothing
    for i, o in enumerate(objects):
        text = [CHARACTERS.index(c) for c in o.text] + [NO_CHARACTER] * (4 - len(o.text))
        table[i] = [*pair(i), i, sum(p.cls == o.cls for p in objects) - 1, sum(p.colour == o.colour for p in objects) - 1,
                    *pair(i - 1), *pair(i + 1), int(o.on), *text, *scene.quantised_box(o)]
    return table


def patch_owners(scene, rows, cols, size, grid):
    """Per patch, in the model's order of tiles: index of the object shown or -1, index of the sign character or -1."""
    w, h = cols * grid * CELL, rows * grid * CELL
    sx, sy = size[0] / scene.width / 2, size[1] / scene.height / 2
    shown = Image.new("L", (w, h), 0)
    draw = ImageDraw.Draw(shown)
    first, k = {}, 1
    for i, o in enumerate(scene.objects):
        first[i] = k
        k += len(o.text)
    letters = Image.new("L", (w, h), 0) if k > 1 else None
    draw_letters = ImageDraw.Draw(letters) if letters else None
    for i in scene.draw_order:
        o = scene.objects[i]
        for points, tone in o.polygons:
            if tone != "glow":
                at = [(x * sx, y * sy) for x, y in points]
                draw.polygon(at, fill=i + 1)
                if letters:
                    draw_letters.polygon(at, fill=0)
        for j, (_, _, cell) in enumerate(o.glyphs):
            draw_letters.polygon([(x * sx, y * sy) for x, y in cell], fill=first[i] + j)
    owner = majority(shown, rows, cols, grid, len(scene.objects))
    character = majority(letters, rows, cols, grid, k - 1) if letters else np.full(owner.shape, -1)
    return owner, character


def majority(image, rows, cols, grid, count):
    """[rows * cols * grid^2]: the value - 1 that covers most of each patch, at least a sixth of it; -1 for none."""
    a = np.asarray(image).reshape(rows, grid, CELL, cols, grid, CELL).transpose(0, 3, 1, 4, 2, 5).reshape(-1, CELL * CELL)
    best, cover = np.full(len(a), -1), np.full(len(a), CELL * CELL // 6)
    for v in range(count):
        n = (a == v + 1).sum(1)
        better = n > cover
        best[better], cover[better] = v, n[better]
        if not better.any() and n.any():
            best[n.argmax()] = v           # everything that is seen at all owns a patch
    return best
