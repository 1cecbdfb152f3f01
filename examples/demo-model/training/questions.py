"""Questions about a scene and their answers.

An answer is a list of (text, target) pieces. The target names what in the picture the piece is about,
as bits: bit i is the i-th object from the left, bit 8+k the k-th sign character of the scene. Training
uses it to guide attention; nothing else does.
"""

from dataclasses import dataclass, field

from shapes import CLASSES
from world import CLASS_WEIGHTS, COLOURS

PLURALS = {c: c + "s" for c in CLASSES} | {"box": "boxes", "person": "people"}
CHARACTER_BIT = 8

PHRASES = {
    "caption": ["Describe the scene.", "Describe the scene.", "Describe the image.", "Describe the picture.", "What do you see?",
                "What can you see?", "What is in the picture?", "What is in the image?", "What is on the table?",
                "Describe what you see.", "Tell me what you see.", "What objects are there?"],
    "list": ["List all objects with their boxes.", "List all objects with their boxes.", "List all objects.",
             "List the objects.", "Find all objects.", "Detect all objects.", "Locate all objects.",
             "Where are the objects?", "Give me the boxes of all objects.", "List everything you see with boxes."],
    "listOf": ["List all {x} with their boxes.", "Find all {x}.", "Where are the {x}?", "Locate all {x}."],
    "locate": ["Where is the {x}?", "Where is the {x}?", "Where is the {x}?", "Find the {x}.", "Locate the {x}.",
               "Show me the {x}.", "Point to the {x}.", "Give me the box of the {x}.", "Where can I find the {x}?",
               "Where do you see the {x}?"],
    "exists": ["Is there {a}?", "Is there {a}?", "Do you see {a}?", "Can you see {a}?", "Is there {a} on the table?",
               "Is there {a} in the picture?", "Is {a} there?", "Do you have {a}?"],
    "existsAny": ["Are there any {x}?", "Do you see any {x}?", "Are there {x} on the table?"],
    "existsColour": ["Is there anything {x}?", "Is anything {x}?", "Do you see anything {x}?", "Is there a {x} object?"],
    "count": ["How many objects are there?", "How many objects are there?", "How many objects do you see?",
              "How many things are on the table?", "Count the objects.", "How many objects can you see?",
              "How many things do you see?"],
    "countOf": ["How many {x} are there?", "How many {x} are there?", "How many {x} do you see?", "Count the {x}.",
                "How many {x} can you see?", "How many {x} are on the table?"],
    "colour": ["What color is the {x}?", "What color is the {x}?", "What is the color of the {x}?",
               "Which color is the {x}?", "Which color does the {x} have?", "Tell me the color of the {x}."],
    "side": ["What is {s} of the {x}?", "What is to the {s} of the {x}?", "What is on the {s} of the {x}?",
             "Which object is {s} of the {x}?", "What is directly {s} of the {x}?", "What stands to the {s} of the {x}?",
             "What do you see {s} of the {x}?"],
    "end": ["What is on the far {s}?", "Which object is on the far {s}?", "What is the {s}most object?"],
    "lamp": ["Is the {x} on?", "Is the {x} on or off?", "Is the {x} on?", "Is the {x} off?", "Is the {x} switched on?",
             "What is the state of the {x}?", "Is the {x} lit?"],
    "sign": ["What does the {x} say?", "What does the {x} say?", "Read the {x}.", "What is written on the {x}?",
             "What is the text on the {x}?", "Can you read the {x}?", "What can you read on the {x}?"],
}


@dataclass
class Question:
    task: str
    text: str
    answer: list                        # [(text, target bits)]
    expected: dict = field(default_factory=dict)

    @property
    def answer_text(self):
        return "".join(piece for piece, _ in self.answer)


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def phrase(rng, task, plain=False, **values):
    """One of the phrasings; unless plain, in a visitor's own spelling."""
    if plain:
        return PHRASES[task][0].format(**values)
    text = rng.choice(PHRASES[task]).format(**values)
    if rng.random() < 0.3:
        text = text.replace("color", "colour")
    p = rng.random()
    if p < 0.15:
        text = text[0].lower() + text[1:-1]
    elif p < 0.25:
        text = text[0].lower() + text[1:]
    elif p < 0.35:
        text = text[:-1]
    elif p < 0.38:
        text = text[:-1] + (" please" if text[-1] == "." else ", please") + text[-1]
    return text


class Asker:
    """Asks about one scene. `avoid` holds (colour, class) pairs that are never mentioned."""

    def __init__(self, rng, scene, avoid=frozenset(), plain=False):
        self.rng, self.scene, self.avoid, self.plain = rng, scene, avoid, plain
        self.objects = scene.objects
        self.by_class, self.by_colour = {}, {}
        for i, o in enumerate(self.objects):
            self.by_class.setdefault(o.cls, []).append(i)
            self.by_colour.setdefault(o.colour, []).append(i)
        self.pairs = {(o.colour, o.cls): i for i, o in enumerate(self.objects)}
        # Bits of the sign characters, counted over the signs from left to right.
        self.character_bits, k = {}, 0
        for i, o in enumerate(self.objects):
            self.character_bits[i] = [1 << (CHARACTER_BIT + k + j) for j in range(len(o.text))]
            k += len(o.text)

    def say(self, task, **values):
        return phrase(self.rng, task, self.plain, **values)

    def reference(self, i):
        """A name that fits only this object."""
        o = self.objects[i]
        return o.cls if len(self.by_class[o.cls]) == 1 and self.rng.random() < 0.5 else o.label

    def absent_reference(self, cls=None):
        """Something that is not there, often nearly there: right class in another colour, or the reverse."""
        rng = self.rng
        for _ in range(60):
            k = cls or rng.choices(CLASSES, CLASS_WEIGHTS)[0]
            c = rng.choice(COLOURS)
            p = rng.random()
            if p < 0.25:
                if k not in self.by_class:
                    return k
                continue
            if p < 0.55 and self.objects:
                k = cls or rng.choice(self.objects).cls
            elif p < 0.85 and self.objects:
                c = rng.choice(self.objects).colour
            if (c, k) not in self.pairs and (c, k) not in self.avoid:
                return f"{c} {k}"
        return None

    # Each of the following returns a Question, or None when the scene does not allow it.

    def sign_pieces(self, i):
        return list(zip(self.objects[i].text, self.character_bits[i]))

    def caption(self):
        pieces = []
        n = len(self.objects)
        for i, o in enumerate(self.objects):
            bit = 1 << i
            if i:
                pieces.append((" and " if i == n - 1 else ", ", bit))
            name = article(o.label)
            pieces.append((name[0].upper() + name[1:] if i == 0 else name, bit))
            pieces.append((" " + self.position(o), bit))
            if o.cls == "lamp" and o.on:
                pieces.append((" that is on", bit))
            if o.cls == "sign":
                pieces += [(' that says "', bit)] + self.sign_pieces(i) + [('"', bit)]
        pieces = pieces + [(".", 0)] if pieces else [("The table is empty.", 0)]
        objects = [{"colour": o.colour, "class": o.cls} for o in self.objects]
        return Question("caption", self.say("caption"), pieces, {"objects": objects})

    def position(self, o):
        x, y = o.centre
        column = min(2, max(0, int(x / self.scene.width * 3)))
        row = min(2, max(0, int(y / self.scene.height * 3)))
        if row == 1:
            return ("on the left", "in the center", "on the right")[column]
        return "at the " + ("top", "", "bottom")[row] + (" left", "", " right")[column]

    def box_pieces(self, label, i):
        if i is None:
            return [('{"label":"' + label + '","box":null}', 0)]
        box = ",".join(map(str, self.scene.quantised_box(self.objects[i])))
        return [('{"label":"' + label + '","box":[' + box + "]}", 1 << i)]

    def list_pieces(self, indices):
        pieces = [("[", 1 << indices[0] if indices else 0)]
        for k, i in enumerate(indices):
            pieces += ([(",", 1 << i)] if k else []) + self.box_pieces(self.objects[i].label, i)
        return pieces + [("]", 0)]

    def list(self):
        pieces = self.list_pieces(list(range(len(self.objects))))
        boxes = [{"label": o.label, "box": self.scene.quantised_box(o)} for o in self.objects]
        return Question("list", self.say("list"), pieces, {"objects": boxes})

    def list_of(self):
        rng = self.rng
        if self.objects and rng.random() < 0.8:
            o = rng.choice(self.objects)
            name, found = rng.choice([(PLURALS[o.cls], self.by_class[o.cls]), (o.colour + " objects", self.by_colour[o.colour])])
        else:
            cls = rng.choice(CLASSES)
            name, found = PLURALS[cls], self.by_class.get(cls, [])
        return Question("listOf", self.say("listOf", x=name), self.list_pieces(found))

    def locate(self, absent=None):
        absent = self.rng.random() < 0.25 if absent is None else absent
        if absent or not self.objects:
            label = self.absent_reference()
            return label and Question("absentSaid", self.say("locate", x=label), self.box_pieces(label, None),
                                      {"label": label, "box": None})
        i = self.rng.randrange(len(self.objects))
        label = self.reference(i)
        return Question("locate", self.say("locate", x=label), self.box_pieces(label, i),
                        {"label": label, "box": self.scene.quantised_box(self.objects[i]),
                         "relativeBox": self.scene.relative_box(self.objects[i])})

    def exists(self, answer=None):
        rng = self.rng
        answer = rng.random() < 0.5 if answer is None else answer
        form = 0 if self.plain else rng.random()
        if form > 0.85:
            return self.exists_loosely(answer)
        if answer:
            if not self.objects:
                return None
            i = rng.randrange(len(self.objects))
            o = self.objects[i]
            name = rng.choice([o.cls, o.label])
            target = sum(1 << j for j in self.by_class[o.cls]) if name == o.cls else 1 << i
            return self.yes_no("exists", "exists", True, target, a=article(name))
        name = self.absent_reference()
        return name and self.yes_no("exists", "exists", False, 0, a=article(name))

    def exists_loosely(self, answer):
        rng = self.rng
        by, names, task = rng.choice([(self.by_class, CLASSES, "existsAny"), (self.by_colour, COLOURS, "existsColour")])
        choices = [k for k in names if (k in by) == answer]
        if not choices:
            return None
        k = rng.choice(choices)
        return self.yes_no("exists", task, answer, sum(1 << j for j in by.get(k, [])), x=PLURALS.get(k, k))

    def yes_no(self, task, phrases, answer, target, **values):
        return Question(task, self.say(phrases, **values), [("Yes." if answer else "No.", target)], {"answer": answer})

    def count(self):
        n = len(self.objects)
        return Question("count", self.say("count"), [(str(n), (1 << n) - 1)], {"answer": n})

    def count_of(self):
        """Each number that occurs is equally likely, so that the answer cannot be guessed."""
        rng = self.rng
        if not self.plain and rng.random() < 0.12:
            p = rng.random() < 0.5 and self.objects
            o = rng.choice(self.objects) if p else None
            name = o.label if o else self.absent_reference(rng.choice(CLASSES))
            if not name or " " not in name:
                return None
            colour, cls = name.split()
            return self.count_question(f"{colour} {PLURALS[cls]}", [self.pairs[colour, cls]] if o else [])
        by, names = rng.choice([(self.by_class, CLASSES), (self.by_colour, COLOURS)])
        n = rng.choice(sorted({len(v) for v in by.values()} | {0}))
        name = rng.choice([k for k in names if len(by.get(k, [])) == n])
        return self.count_question(PLURALS.get(name, name + " objects"), by.get(name, []))

    def count_question(self, name, found):
        return Question("countOf", self.say("countOf", x=name), [(str(len(found)), sum(1 << i for i in found))],
                        {"answer": len(found)})

    def none_there(self, name):
        return [(f"There is no {name}.", 0)]

    def colour(self):
        rng = self.rng
        unique = [i for i, o in enumerate(self.objects) if len(self.by_class[o.cls]) == 1]
        if rng.random() < 0.12 or not unique:
            missing = [c for c in CLASSES if c not in self.by_class]
            cls = rng.choice(missing)
            return Question("colourAbsent", self.say("colour", x=cls), self.none_there(cls))
        i = rng.choice(unique)
        o = self.objects[i]
        return Question("colour", self.say("colour", x=o.cls), [(o.colour.capitalize() + ".", 1 << i)], {"answer": o.colour})

    def left_right(self):
        rng = self.rng
        side = rng.choice(["left", "right"])
        if not self.objects or rng.random() < 0.08:
            name = self.absent_reference()
            return name and Question("sideAbsent", self.say("side", s=side, x=name), self.none_there(name))
        if not self.plain and rng.random() < 0.12:
            return self.named("end", side, 0 if side == "left" else len(self.objects) - 1)
        i = rng.randrange(len(self.objects))
        j = i - 1 if side == "left" else i + 1
        if 0 <= j < len(self.objects):
            return self.named("side", side, j, x=self.reference(i))
        return Question("leftRight", self.say("side", s=side, x=self.reference(i)), [("Nothing.", 0)], {"answer": None})

    def named(self, phrases, side, j, **values):
        o = self.objects[j]
        return Question("leftRight" if phrases == "side" else "end", self.say(phrases, s=side, **values),
                        [(article(o.label).capitalize() + ".", 1 << j)], {"answer": o.label})

    def lamp(self):
        lamps = self.by_class.get("lamp", [])
        if not lamps or self.rng.random() < 0.06:
            name = self.absent_reference("lamp")
            return name and Question("lampAbsent", self.say("lamp", x=name), self.none_there(name))
        i = self.rng.choice(lamps)
        on = self.objects[i].on
        return Question("lampOn", self.say("lamp", x=self.reference(i)), [("On." if on else "Off.", 1 << i)], {"answer": on})

    def sign(self):
        signs = self.by_class.get("sign", [])
        if not signs or self.rng.random() < 0.05:
            name = self.absent_reference("sign")
            return name and Question("signAbsent", self.say("sign", x=name), self.none_there(name))
        i = self.rng.choice(signs)
        return Question("signExact", self.say("sign", x=self.reference(i)), self.sign_pieces(i),
                        {"answer": self.objects[i].text})
