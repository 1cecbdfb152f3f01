"""The model's image processor: canvas of tiles, resize, pad, split. Also the place of the patches on the picture."""

from functools import lru_cache

import numpy as np
from PIL import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def aspect_ratios(max_tiles):
    """(rows, cols) in the order of the aspect-ratio ids, which start at 1."""
    return [(r, c) for r in range(1, max_tiles + 1) for c in range(1, max_tiles + 1) if r * c <= max_tiles]


@lru_cache(maxsize=None)
def choose_canvas(w, h, tile, max_tiles):
    """(rows, cols): the smallest enlargement if any fits, else the least reduction; ties to the smaller area."""
    scales = [(min(r * tile / h, c * tile / w), r * c, i) for i, (r, c) in enumerate(aspect_ratios(max_tiles))]
    enlarging = [s for s, _, _ in scales if s >= 1]
    best = min(enlarging) if enlarging else max(s for s, _, _ in scales)
    _, index = min((area, i) for s, area, i in scales if s == best)
    return aspect_ratios(max_tiles)[index]


@lru_cache(maxsize=None)
def resize_target(w, h, tile, rows, cols):
    tw, th = min(max(w, tile), cols * tile), min(max(h, tile), rows * tile)
    sw, sh = tw / w, th / h
    if sw < sh:
        return tw, min(max(1, int(h * sw)), th)
    return min(max(1, int(w * sh)), tw), th


def process(image, tile, max_tiles):
    """RGB image -> uint8 tiles [max_tiles, tile, tile, 3], number of tiles, aspect-ratio id, (rows, cols), resized size."""
    w, h = image.size
    rows, cols = choose_canvas(w, h, tile, max_tiles)
    size = resize_target(w, h, tile, rows, cols)
    canvas = np.zeros((rows * tile, cols * tile, 3), np.uint8)
    canvas[:size[1], :size[0]] = np.asarray(image.resize(size, Image.BILINEAR) if size != (w, h) else image)
    tiles = np.zeros((max_tiles, tile, tile, 3), np.uint8)
    tiles[:rows * cols] = canvas.reshape(rows, tile, cols, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
    return tiles, rows * cols, aspect_ratios(max_tiles).index((rows, cols)) + 1, (rows, cols), size
