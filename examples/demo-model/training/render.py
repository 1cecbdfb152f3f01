"""Draws a scene as a picture: background, shadows, things with correct occlusion, light, noise, compression."""

import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from shapes import ellipse
from world import COLOURS

BASE_COLOURS = dict(zip(COLOURS, [(205, 35, 35), (240, 130, 25), (240, 215, 45), (45, 150, 55), (40, 80, 205),
                                  (135, 55, 165), (240, 240, 240), (38, 38, 42)]))
FIXED_TONES = {"white": (238, 238, 235), "black": (30, 30, 32), "metal": (150, 152, 158), "brown": (95, 62, 35),
               "leaf": (60, 130, 50), "screen": (70, 90, 105), "jeans": (62, 70, 92)}


def byte_colour(values):
    return tuple(int(max(0, min(255, v))) for v in values)


def mix(a, b, share):
    return [x + (y - x) * share for x, y in zip(a, b)]


def draw_background(rng, w, h):
    """A soft texture, often with a table's edge and grain, or stripes."""
    cells = rng.choice([2, 3, 4, 6])
    numbers = np.random.RandomState(rng.randrange(1 << 31))
    base = rng.uniform(85, 225) + numbers.uniform(-35, 35, 3)
    texture = np.clip(base + numbers.uniform(-1, 1, (cells, cells, 3)) * rng.uniform(3, 28), 0, 255).astype(np.uint8)
    image = Image.fromarray(texture).resize((w, h), Image.BILINEAR)
    draw = ImageDraw.Draw(image)
    kind = rng.random()
    if kind < 0.5:
        edge = int(h * rng.uniform(0.1, 0.6))
        colour = np.clip(base * rng.uniform(0.6, 1.15) + numbers.uniform(-25, 25, 3), 40, 235)
        draw.rectangle((0, edge, w, h), fill=byte_colour(colour))
        if rng.random() < 0.5:
            grain, step = byte_colour(colour * rng.uniform(0.88, 1.1)), rng.uniform(0.04, 0.15)
            slant, thick = rng.uniform(-0.02, 0.02), max(1, int(h * rng.uniform(0.003, 0.01)))
            y = edge / h + step
            while y < 1:
                draw.line((0, y * h, w, (y + slant) * h), fill=grain, width=thick)
                y += step
    elif kind < 0.7:
        stripe, vertical = rng.uniform(0.06, 0.18), rng.random() < 0.5
        colour = byte_colour(base * rng.uniform(0.85, 1.1))
        at = 0.0
        while at < 1:
            area = (at * w, 0, (at + stripe) * w, h) if vertical else (0, at * h, w, (at + stripe) * h)
            draw.rectangle(area, fill=colour)
            at += 2 * stripe
    return image


def pixel_at(image, x, y):
    return image.getpixel((min(image.width - 1, max(0, int(x))), min(image.height - 1, max(0, int(y)))))


def draw_object(image, draw, obj, scale, rng):
    """One thing with its shadow. The generator is the thing's own, so that it looks alike in every frame."""
    main = [v * k + d for v, k, d in zip(BASE_COLOURS[obj.colour], [rng.uniform(0.88, 1.08)] * 3,
                                        [rng.uniform(-13, 13) for _ in range(3)])]
    x0, y0, x1, y1 = [v * scale for v in obj.box]
    behind = pixel_at(image, x0, y0)
    tones = dict(FIXED_TONES, main=main, dark=[v * 0.68 for v in main], light=mix(main, (255, 255, 255), 0.5),
                 hole=behind, rim=[v * 0.55 for v in main] if sum(main) > 150 else [v + 90 for v in main],
                 skin=mix((236, 196, 160), (120, 78, 52), rng.random()),
                 bulb=(255, 246, 170) if obj.on else (88, 90, 96), glow=mix(behind, (255, 240, 150), 0.62))
    if obj.on:
        tones["main"] = mix(main, (255, 245, 170), 0.14)
    if rng.random() < 0.6:
        cx, ground, half = (x0 + x1) / 2 + 0.01 * scale, y1 - 0.012 * scale, (x1 - x0) * 0.5
        ground_colour = pixel_at(image, cx, ground)
        draw.polygon(ellipse(cx, ground, half, 0.02 * scale, steps=14), fill=byte_colour([v * 0.75 for v in ground_colour]))
    outline = byte_colour([v * 0.35 for v in main])
    for points, tone in obj.polygons:
        draw.polygon([(x * scale, y * scale) for x, y in points], fill=byte_colour(tones[tone]),
                     outline=None if tone in ("glow", "hole") else outline)
    if obj.glyphs:
        luminance = 0.3 * main[0] + 0.59 * main[1] + 0.11 * main[2]
        ink = (28, 28, 30) if luminance > 125 else (244, 244, 240)
        width = max(1, round(obj.stroke * scale))
        for _, strokes, _ in obj.glyphs:
            for line in strokes:
                draw.line([(x * scale, y * scale) for x, y in line], fill=ink, width=width, joint="curve")


def draw_scene(scene, w, h, supersample=1):
    """The scene at w x h pixels under even light."""
    W, H = w * supersample, h * supersample
    scale = math.sqrt(W * H)
    image = draw_background(random.Random(scene.style_seed), W, H)
    draw = ImageDraw.Draw(image)
    for i in scene.draw_order:
        obj = scene.objects[i]
        draw_object(image, draw, obj, scale, random.Random(f"{scene.style_seed}/{obj.label}"))
    return image.reduce(supersample) if supersample > 1 else image


def sample_light(rng, kind):
    """(gain, gamma, contrast, offset, slope) for plain, dark or bright light."""
    if kind == "dark":
        return rng.uniform(0.42, 0.65), rng.uniform(1.0, 1.2), 1.0, rng.uniform(-4, 4), rng.uniform(0, 0.25)
    if kind == "bright":
        return rng.uniform(1.15, 1.35), rng.uniform(0.85, 1.0), rng.uniform(0.9, 1.0), rng.uniform(0, 18), rng.uniform(0, 0.15)
    return rng.uniform(0.75, 1.15), rng.uniform(0.9, 1.1), rng.uniform(0.82, 1.12), rng.uniform(-14, 14), rng.uniform(0, 0.25)


def expose(image, light, angle, strength, numbers):
    """Light with a slope over the frame in the direction `angle`, and noise of the given strength."""
    gain, gamma, contrast, offset, slope = light
    levels = np.arange(256, dtype=np.float32)
    table = ((levels / 255) ** gamma * 255 * gain - 128) * contrast + 128 + offset
    pixels = np.take(table, np.asarray(image))
    if slope > 0.02:
        ramp_x = np.linspace(-1, 1, image.width, dtype=np.float32) * math.cos(angle)
        ramp_y = np.linspace(-1, 1, image.height, dtype=np.float32) * math.sin(angle)
        pixels *= (1 + slope * 0.5 * (ramp_x[None, :] + ramp_y[:, None]))[..., None]
    if strength > 1:
        pixels += numbers.standard_normal((image.height, image.width, 1), dtype=np.float32) * strength
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def photograph(image, rng, light="plain", noise=7.0, blur=0.2, jpeg=0.35):
    """What a camera makes of it: blur, light, noise, compression."""
    values = sample_light(rng, light)
    if rng.random() < blur:
        size = max(1.0, math.sqrt(image.width * image.height) / 300)
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 1.0) * size))
    numbers = np.random.Generator(np.random.SFC64(rng.randrange(1 << 31)))
    angle = rng.uniform(0, 2 * math.pi)
    image = expose(image, values, angle, rng.uniform(0, noise), numbers)
    if rng.random() < jpeg:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randrange(35, 90))
        image = Image.open(buffer).convert("RGB")
    return image
