"""What may stand on the table: sampling of scenes, independent of the resolution.

Coordinates: the frame has area 1 in world units, so a frame of aspect a is sqrt(a) wide and
1/sqrt(a) high and a thing has the same size in every frame. Things are sorted from left to right by
the centre of their box. No two things of a scene share both colour and class.
"""

import math
import random
from dataclasses import dataclass, field

from glyphs import GLYPHS, GLYPH_HEIGHT, GLYPH_WIDTH
from shapes import CLASSES, PLAIN_SHAPES, lamp, rectangle

COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "white", "black"]
# Signs and lamps carry more than a colour and a class, so they are met more often.
CLASS_WEIGHTS = [3.4 if c == "sign" else 1.6 if c == "lamp" else 1.0 for c in CLASSES]
# Pairs that training never shows or asks about; evaluation does, to see whether colour and class compose.
HELD_OUT = frozenset([("purple", "clock"), ("orange", "phone"), ("green", "robot")])
SIGN_WORDS = ["EXIT", "OPEN", "STOP", "SHOP", "HELP", "INFO", "PULL", "PUSH", "CAFE", "TAXI", "BUS", "WC", "BAR", "NO",
              "GO", "UP", "IN", "OUT", "ON", "HOT", "KEY", "MAP", "SALE", "FREE", "GATE", "ZONE", "JAZZ"]
# Q is left out, as on many printed codes: only a tail sets it off from O.
SIGN_LETTERS, SIGN_DIGITS = "ABCDEFGHIJKLMNOPRSTUVWXYZ", "0123456789"
# Least height of a sign's capitals against the longer side of the frame: 23 pixels of the 224 that the model sees.
LEGIBLE = 0.105
OBJECT_COUNT_WEIGHTS = [5, 14, 20, 24, 21, 16]
MAX_OBJECTS = 5


@dataclass
class SceneObject:
    cls: str
    colour: str
    polygons: list                      # [(points, tone)] in world units
    box: tuple                          # full extent, not clipped
    on: bool = False                    # lamps
    text: str = ""                      # signs
    glyphs: list = field(default_factory=list)   # signs: [(character, strokes, cell corners)]
    stroke: float = 0.0                 # signs: width of a stroke

    @property
    def label(self):
        return f"{self.colour} {self.cls}"

    @property
    def centre(self):
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass
class Scene:
    width: float
    height: float
    objects: list                       # from left to right
    draw_order: list                    # indices into objects, far to near
    style_seed: int                     # background, tones, light: everything that is no question's subject

    def clipped_box(self, obj):
        """Box in world units, clipped to the frame."""
        x0, y0, x1, y1 = obj.box
        return max(0.0, x0), max(0.0, y0), min(self.width, x1), min(self.height, y1)

    def quantised_box(self, obj):
        """[x1, y1, x2, y2] in hundredths of the longer side, 0..99."""
        side = max(self.width, self.height)
        return [min(99, max(0, int(v / side * 100))) for v in self.clipped_box(obj)]

    def relative_box(self, obj):
        """Box as fractions of the frame's width and height."""
        x0, y0, x1, y1 = self.clipped_box(obj)
        return [x0 / self.width, y0 / self.height, x1 / self.width, y1 / self.height]


def sign_text(rng, lengths=(2, 3, 3, 3), words=0.15):
    """`lengths`: weights of texts of 1 to 4 characters; `words`: the share of known words."""
    if rng.random() < words:
        return rng.choice(SIGN_WORDS)
    text = ""
    for _ in range(rng.choices([1, 2, 3, 4], lengths)[0]):
        # At most two digits in a row: a number beyond 99 is no word of the model.
        letters_only = text[-2:].isdigit() and len(text) >= 2
        text += rng.choice(SIGN_LETTERS if letters_only or rng.random() < 0.68 else SIGN_DIGITS)
    return text


def sign_parts(rng, text, cap_height):
    """Board, post and glyphs in world units around (0, 0)."""
    cell = cap_height * rng.uniform(0.9, 1.0)
    glyph_width = cell * 0.7
    half_w = max(cell * len(text), cap_height * 1.1) / 2 + cap_height * rng.uniform(0.22, 0.45)
    half_h = cap_height * rng.uniform(0.78, 0.95)
    post = cap_height * rng.uniform(0.4, 0.9)
    rim = cap_height * 0.1
    parts = [(rectangle(-cap_height * 0.08, half_h, cap_height * 0.08, half_h + post), "metal"),
             (rectangle(-half_w, -half_h, half_w, half_h), "rim"),
             (rectangle(-half_w + rim, -half_h + rim, half_w - rim, half_h - rim), "main")]
    glyphs = []
    for i, character in enumerate(text):
        left = (i - len(text) / 2) * cell
        x0 = left + (cell - glyph_width) / 2
        strokes = [[(x0 + x / GLYPH_WIDTH * glyph_width, (y / GLYPH_HEIGHT - 0.5) * cap_height) for x, y in line]
                   for line in GLYPHS[character]]
        half = cap_height * 0.62
        glyphs.append((character, strokes, rectangle(left, -half, left + cell, half)))
    return parts, glyphs


def rotated(points, angle):
    c, s = math.cos(angle), math.sin(angle)
    return [(x * c - y * s, x * s + y * c) for x, y in points]


def moved(points, dx, dy):
    return [(x + dx, y + dy) for x, y in points]


def make_object(rng, cls, colour, size, text=None, on=None, tilt=None, legible=LEGIBLE):
    """One thing around (0, 0); `size` is about half its extent, `legible` the least height of a sign's capitals."""
    obj = SceneObject(cls, colour, [], (0, 0, 0, 0))
    angle = math.radians(rng.uniform(-18, 18) if tilt is None else tilt)
    if cls == "sign":
        obj.text = sign_text(rng) if text is None else text
        cap_height = legible * (1 + 0.4 * min(1.0, max(0.0, (size - 0.1) / 0.1)))
        parts, glyphs = sign_parts(rng, obj.text, cap_height)
        angle *= 0.45
        obj.glyphs = [(c, [rotated(s, angle) for s in strokes], rotated(cell, angle)) for c, strokes, cell in glyphs]
        obj.stroke = cap_height * rng.uniform(0.13, 0.19)
    else:
        if cls == "lamp":
            obj.on = rng.random() < 0.5 if on is None else on
            parts = lamp(rng, obj.on)
        else:
            parts = PLAIN_SHAPES[cls](rng)
        stretch = rng.uniform(0.9, 1.1)
        flip = -1 if rng.random() < 0.5 else 1
        parts = [([(flip * x * size * stretch, y * size / stretch) for x, y in points], tone) for points, tone in parts]
    obj.polygons = [(rotated(points, angle), tone) for points, tone in parts]
    set_box(obj)
    return obj


def set_box(obj):
    xs = [x for points, tone in obj.polygons if tone != "glow" for x, _ in points]
    ys = [y for points, tone in obj.polygons if tone != "glow" for _, y in points]
    obj.box = (min(xs), min(ys), max(xs), max(ys))


def move_object(obj, dx, dy):
    obj.polygons = [(moved(points, dx, dy), tone) for points, tone in obj.polygons]
    obj.glyphs = [(c, [moved(s, dx, dy) for s in strokes], moved(cell, dx, dy)) for c, strokes, cell in obj.glyphs]
    x0, y0, x1, y1 = obj.box
    obj.box = (x0 + dx, y0 + dy, x1 + dx, y1 + dy)


def overlap(a, b):
    """Area of the common part over the area of the smaller box."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def place(rng, obj, width, height, others, limit):
    """Moves the thing to a free spot; False when the spot drawn is taken."""
    x0, y0, x1, y1 = obj.box
    w, h = x1 - x0, y1 - y0
    # Some things are cut by the frame; a sign never is, because its text would be lost.
    out = rng.uniform(0, 0.15) if obj.cls != "sign" and rng.random() < 0.12 else -0.02
    lo_x, hi_x, lo_y, hi_y = -out * w, width - w + out * w, -out * h, height - h + out * h
    if hi_x <= lo_x or hi_y <= lo_y:
        return False
    move_object(obj, rng.uniform(lo_x, hi_x) - x0, rng.uniform(lo_y, hi_y) - y0)
    for other in others:
        allowed = 0.04 if "sign" in (obj.cls, other.cls) else limit
        if overlap(obj.box, other.box) > allowed:
            return False
        # The order from left to right has to be plain.
        if abs(obj.centre[0] - other.centre[0]) < 0.05 * width:
            return False
    return True


def choose_pair(rng, theme, objects):
    kind, value = theme
    cls = rng.choices(CLASSES, CLASS_WEIGHTS)[0]
    colour = rng.choice(COLOURS)
    if kind == "class" and rng.random() < 0.75:
        cls = value
    elif kind == "colour" and rng.random() < 0.75:
        colour = value
    elif kind == "mixed" and objects:
        p = rng.random()
        if p < 0.15:
            cls = rng.choice(objects).cls
        elif p < 0.3:
            colour = rng.choice(objects).colour
    return colour, cls


def sample_scene(rng, aspect, avoid=frozenset(), reading=0.0):
    """A random scene; `avoid` holds (colour, class) pairs that must not occur, `reading` is the share of scenes that
    are nothing but signs, as many as find room: practice for training."""
    width, height = math.sqrt(aspect), 1 / math.sqrt(aspect)
    wanted = rng.choices(range(MAX_OBJECTS + 1), OBJECT_COUNT_WEIGHTS)[0]
    p = rng.random()
    theme = ("class", rng.choice(CLASSES)) if p < 0.2 else ("colour", rng.choice(COLOURS)) if p < 0.38 else ("mixed", "")
    practice = bool(reading) and rng.random() < reading
    if practice:
        wanted = MAX_OBJECTS
    limit = 0.25 if rng.random() < 0.5 else 0.03
    objects = []
    for _ in range(120 if practice else 90):
        if len(objects) == wanted:
            break
        colour, cls = (rng.choice(COLOURS), "sign") if practice else choose_pair(rng, theme, objects)
        if (colour, cls) in avoid or any(o.cls == cls and o.colour == colour for o in objects):
            continue
        size = rng.uniform(0.155, 0.23) * (1.0 if wanted < 4 else 0.95) * math.sqrt(max(width, height))
        text = sign_text(rng, (0, 1, 2, 4), 0.05) if practice else None
        obj = make_object(rng, cls, colour, size, text=text, legible=LEGIBLE * max(width, height))
        if place(rng, obj, width, height, objects, limit):
            objects.append(obj)
    objects.sort(key=lambda o: o.centre[0])
    order = list(range(len(objects)))
    rng.shuffle(order)
    order.sort(key=lambda i: objects[i].cls == "sign")   # nothing covers a sign
    return Scene(width, height, objects, order, rng.randrange(1 << 31))


def scene_rng(domain, *key):
    """A generator for one scene. Domains ("training", "evaluation") never share a stream."""
    return random.Random("/".join([domain, *map(str, key)]))
