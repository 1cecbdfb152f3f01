"""The sixteen things of the world as lists of (polygon, tone) in a box of about [-1, 1] x [-1, 1].

Tones: `main` the colour of the thing, `dark` and `light` shades of it, `white`, `black`, `metal`,
`brown`, `leaf`, `screen`, `skin`, `hole` (what lies behind), `bulb` (bright when a lamp is on) and
`glow` (the light under a lamp that is on; not part of the thing's extent).
"""

import math

CLASSES = ["cup", "bottle", "box", "ball", "book", "phone", "key", "apple", "banana", "plate", "cone", "robot",
           "clock", "lamp", "person", "sign"]


def ellipse(cx, cy, rx, ry, start=0, end=360, steps=20):
    points = []
    for i in range(steps + 1):
        angle = math.radians(start + (end - start) * i / steps)
        points.append((cx + rx * math.cos(angle), cy + ry * math.sin(angle)))
    return points


def rectangle(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def cup(rng):
    h = rng.uniform(0.7, 0.9)
    return [(ellipse(0.62, 0.05, 0.36, 0.42, steps=18), "dark"),
            (ellipse(0.60, 0.05, 0.20, 0.26, steps=16), "hole"),
            ([(-0.75, -h), (0.6, -h), (0.48, h), (-0.6, h)], "main"),
            (ellipse(-0.07, -h, 0.68, 0.16), "dark")]


def bottle(rng):
    w = rng.uniform(0.33, 0.45)
    return [([(-w, 0.95), (-w, -0.15), (-0.14, -0.5), (-0.14, -0.85), (0.14, -0.85), (0.14, -0.5), (w, -0.15),
              (w, 0.95)], "main"),
            (rectangle(-0.17, -1, 0.17, -0.82), "black"),
            (rectangle(-w, 0.15, w, 0.6), "light")]


def box(rng):
    d = rng.uniform(0.25, 0.4)
    return [(rectangle(-0.9, -0.9 + d, 0.9 - d, 0.9), "main"),
            ([(-0.9, -0.9 + d), (-0.9 + d, -0.9), (0.9, -0.9), (0.9 - d, -0.9 + d)], "light"),
            ([(0.9 - d, -0.9 + d), (0.9, -0.9), (0.9, 0.9 - d), (0.9 - d, 0.9)], "dark")]


def ball(rng):
    return [(ellipse(0, 0, 0.85, 0.85, steps=28), "main"), (ellipse(-0.28, -0.3, 0.24, 0.2, steps=12), "light")]


def book(rng):
    return [(rectangle(-0.72, -0.92, 0.72, 0.92), "main"), (rectangle(-0.72, -0.92, -0.5, 0.92), "dark"),
            (rectangle(-0.3, -0.6, 0.5, -0.35), "light"), (rectangle(-0.3, -0.2, 0.5, -0.08), "light"),
            (rectangle(0.66, -0.88, 0.76, 0.88), "white")]


def phone(rng):
    return [(rectangle(-0.5, -0.95, 0.5, 0.95), "main"), (rectangle(-0.36, -0.74, 0.36, 0.66), "screen"),
            (ellipse(0, 0.81, 0.09, 0.08, steps=10), "light")]


def key(rng):
    return [(ellipse(-0.58, 0, 0.4, 0.4), "main"), (ellipse(-0.62, 0, 0.17, 0.17, steps=14), "hole"),
            (rectangle(-0.22, -0.1, 0.98, 0.1), "main"), (rectangle(0.5, 0.08, 0.64, 0.38), "main"),
            (rectangle(0.78, 0.08, 0.94, 0.46), "main")]


def apple(rng):
    return [(ellipse(-0.28, 0.1, 0.55, 0.72, steps=22), "main"), (ellipse(0.28, 0.1, 0.55, 0.72, steps=22), "main"),
            (rectangle(-0.06, -0.95, 0.06, -0.45), "brown"), (ellipse(0.28, -0.76, 0.24, 0.12, steps=12), "leaf")]


def banana(rng):
    outer = ellipse(0, -0.55, 0.98, 1.15, 8, 172, steps=18)
    inner = ellipse(0, -0.75, 0.72, 0.75, 172, 8, steps=18)
    return [(outer + inner, "main"), (ellipse(*outer[0], 0.1, 0.1, steps=8), "brown"),
            (ellipse(*outer[18], 0.1, 0.1, steps=8), "brown")]


def plate(rng):
    k = rng.uniform(0.5, 0.8)
    return [(ellipse(0, 0, 0.98, 0.98 * k, steps=28), "main"), (ellipse(0, 0, 0.68, 0.66 * k, steps=24), "dark"),
            (ellipse(0, 0.02, 0.6, 0.57 * k, steps=24), "light")]


def cone(rng):
    return [(rectangle(-0.85, 0.7, 0.85, 0.95), "dark"),
            ([(-0.16, -0.95), (0.16, -0.95), (0.6, 0.72), (-0.6, 0.72)], "main"),
            ([(-0.33, -0.25), (0.33, -0.25), (0.44, 0.2), (-0.44, 0.2)], "white")]


def robot(rng):
    return [(rectangle(-0.05, -1, 0.05, -0.7), "metal"), (rectangle(-0.42, -0.78, 0.42, -0.18), "main"),
            (ellipse(-0.19, -0.5, 0.11, 0.12, steps=10), "white"), (ellipse(0.19, -0.5, 0.11, 0.12, steps=10), "white"),
            (rectangle(-0.55, -0.12, 0.55, 0.6), "main"), (rectangle(-0.85, -0.1, -0.62, 0.45), "dark"),
            (rectangle(0.62, -0.1, 0.85, 0.45), "dark"), (rectangle(-0.42, 0.6, -0.12, 0.98), "dark"),
            (rectangle(0.12, 0.6, 0.42, 0.98), "dark"), (rectangle(-0.28, 0.05, 0.28, 0.35), "metal")]


def clock(rng):
    return [(ellipse(0, 0, 0.9, 0.9, steps=28), "main"), (ellipse(0, 0, 0.66, 0.66, steps=24), "white"),
            (rectangle(-0.05, -0.52, 0.05, 0.05), "black"), (rectangle(-0.04, -0.05, 0.42, 0.06), "black")]


def lamp(rng, on):
    parts = [([(-0.5, -0.05), (0.5, -0.05), (0.78, 0.78), (-0.78, 0.78)], "glow")] if on else []
    return parts + [(ellipse(0, 0.0, 0.3, 0.26, steps=14), "bulb"),
                    ([(-0.35, -0.9), (0.35, -0.9), (0.78, -0.05), (-0.78, -0.05)], "main"),
                    (rectangle(-0.07, 0.2, 0.07, 0.8), "metal"), (ellipse(0, 0.83, 0.45, 0.13, steps=16), "dark")]


def person(rng):
    return [(rectangle(-0.3, 0.3, -0.04, 0.97), "jeans"), (rectangle(0.04, 0.3, 0.3, 0.97), "jeans"),
            ([(-0.36, -0.38), (-0.72, 0.2), (-0.56, 0.3), (-0.3, -0.08)], "dark"),
            ([(0.36, -0.38), (0.72, 0.2), (0.56, 0.3), (0.3, -0.08)], "dark"),
            ([(-0.38, -0.42), (0.38, -0.42), (0.36, 0.4), (-0.36, 0.4)], "main"),
            (ellipse(0, -0.7, 0.26, 0.29, steps=18), "skin"),
            (ellipse(0, -0.76, 0.27, 0.24, 180, 360, steps=12), "brown")]


PLAIN_SHAPES = dict(cup=cup, bottle=bottle, box=box, ball=ball, book=book, phone=phone, key=key, apple=apple,
                    banana=banana, plate=plate, cone=cone, robot=robot, clock=clock, person=person)
