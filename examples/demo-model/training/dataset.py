"""Training samples: a picture, a row of questions with answers, dense targets. Rendered in a process of its own.

A row starts with the chat layout up to the image token, once; then come questions with their
answers. Each question sees that start and itself, at the positions it would have alone, so a row is
worth as many separate prompts.
"""

import os

import numpy as np

from configuration import BOS, EOS, MAX_TILES, PATCH, TILE
from glyphs import CHARACTERS
from processor import process
from questions import CHARACTER_BIT, Asker
from render import draw_scene, photograph
from targets import NO_CHARACTER, object_table, patch_owners
from tokenizer import IMAGE, VOCAB_SIZE, Tokenizer
from world import HELD_OUT, sample_scene, scene_rng

GRID = TILE // PATCH
TASKS = ["caption", "list", "listOf", "locate", "absentSaid", "exists", "count", "countOf", "colour", "leftRight", "lampOn",
         "signExact", "other"]
BOXED = {"list", "listOf", "locate"}
SHORT = {"exists", "count", "countOf", "colour", "lampOn"}


class Layout:
    """Token ids of the chat layout."""

    def __init__(self, tokenizer):
        s, enc = tokenizer.special, tokenizer.encode
        self.tokenizer = tokenizer
        user = [s["<|start_header_id|>"], *enc("user"), s["<|end_header_id|>"], *enc("\n\n")]
        self.start = [BOS, *user, s[IMAGE]]
        self.next_turn = user
        self.eot = EOS[2]
        self.answer = [self.eot, s["<|start_header_id|>"], *enc("assistant"), s["<|end_header_id|>"], *enc("\n\n")]

    def prompt(self, question):
        return self.start + self.tokenizer.encode(question) + self.answer


def frame_size(rng):
    """Frames of the kinds that cameras and browsers give, 1 to 2 times as large as the canvas."""
    p = rng.random()
    if p < 0.40:
        aspect = 1.0
    elif p < 0.65:
        aspect = 4 / 3
    elif p < 0.90:
        aspect = 16 / 9
    elif p < 0.96:
        aspect = rng.choice([3 / 4, 2 / 3, 9 / 16])
    else:
        aspect = rng.choice([1.25, 3 / 2, 2.0, 2.5])
    longer = 2 * TILE * rng.uniform(1.15, 2.0)
    if rng.random() < 0.03:
        longer = TILE * rng.uniform(1.0, 1.9)
    return (round(longer), round(longer / aspect)) if aspect >= 1 else (round(longer * aspect), round(longer))


def answer_tokens(layout, question):
    """ids and guide targets of the answer with its end of turn."""
    ids, ends = layout.tokenizer.encode_with_ends(question.answer_text)
    bits = [b for piece, b in question.answer for _ in piece]
    targets, start = [], 0
    for end in ends:
        # Two digits of a sign are one token that is about both characters.
        both = start < end and all(b >= 1 << CHARACTER_BIT for b in bits[start:end])
        targets.append(sum(set(bits[start:end])) if both else bits[end - 1])
        start = end
    return ids + [layout.eot], targets + [0]


def choose_questions(rng, asker):
    """Endless stream of questions: one long answer, then the scene's particular things, then a balanced mix."""
    signs = asker.by_class.get("sign", [])
    if len(signs) < 3 or rng.random() < 0.4:
        yield asker.caption() if rng.random() < 0.35 else asker.list()
    for _ in signs:
        yield asker.sign()
    if "lamp" in asker.by_class:
        yield asker.lamp()
    mix = [asker.locate, asker.locate, asker.locate, asker.exists, asker.exists, asker.count, asker.count_of, asker.count_of,
           asker.colour, asker.left_right, asker.left_right]
    rng.shuffle(mix)
    for k, ask in enumerate(mix):
        yield ask()
        if k == 4 and rng.random() < 0.2:
            yield rng.choice([asker.list_of, asker.lamp, asker.sign])()


def build_row(rng, scene, layout, length, avoid):
    ids, positions = np.zeros(length, np.int64), np.zeros(length, np.int64)
    labels, segment, kind = np.full(length, -1), np.full(length, -1), np.full(length, -1)
    weight, guide = np.zeros(length, np.float32), np.zeros(length, np.int64)
    n = len(layout.start)
    ids[:n], positions[:n], segment[:n] = layout.start, np.arange(n), 0
    at, number, next_position, asked = n, 0, n, set()
    for question in choose_questions(rng, Asker(rng, scene, avoid)):
        if question is None or question.text in asked:
            continue
        answer, targets = answer_tokens(layout, question)
        # Now and then a question goes on in the same conversation.
        follow = number > 0 and rng.random() < 0.15
        head = ([layout.eot] + layout.next_turn) if follow else []
        prompt = head + layout.tokenizer.encode(question.text) + layout.answer
        used = len(prompt) + len(answer) - 1
        if at + used > length:
            if length - at < 18:
                break
            continue
        asked.add(question.text)
        if not follow:
            number, next_position = number + 1, n
        ids[at:at + used] = (prompt + answer)[:-1]
        positions[at:at + used] = np.arange(next_position, next_position + used)
        segment[at:at + used] = number
        first = at + len(prompt) - 1
        labels[first:at + used] = answer
        guide[first:at + used] = targets
        task = question.task if question.task in TASKS else "other"
        weight[first:at + used] = 2 if task == "signExact" else 1
        kind[first:at + used] = TASKS.index(task)
        if task in SHORT:
            weight[first] = 3
        if task in BOXED:
            weight[first:at + used][np.isin(answer, layout.tokenizer.numbers)] = 3
        at, next_position = at + used, next_position + used
    return ids, positions, segment, labels, weight, guide, kind


def make_sample(rng, layout, length, reading, avoid=HELD_OUT):
    w, h = frame_size(rng)
    scene = sample_scene(rng, w / h, avoid, reading)
    light = rng.choices(["plain", "dark", "bright"], [64, 20, 16])[0]
    image = photograph(draw_scene(scene, w, h), rng, light)
    tiles, count, aspect, (rows, cols), size = process(image, TILE, MAX_TILES)
    owner, character = np.full(MAX_TILES * GRID ** 2, -1), np.full(MAX_TILES * GRID ** 2, -1)
    used = count * GRID ** 2
    owner[:used], character[:used] = patch_owners(scene, rows, cols, size, GRID)
    # Bits of each patch, matched with the bits of the answers' targets.
    bits = np.where(owner >= 0, 1 << np.maximum(owner, 0), 0) | np.where(character >= 0, 1 << (CHARACTER_BIT + np.maximum(character, 0)), 0)
    names = np.array([CHARACTERS.index(c) for o in scene.objects for c in o.text] + [NO_CHARACTER])
    return (tiles, np.int64(count), np.int64(aspect), *build_row(rng, scene, layout, length, avoid), owner, bits,
            names[character], object_table(scene), np.int64(len(scene.objects)))


FIELDS = ["tiles", "counts", "aspect", "ids", "positions", "segment", "labels", "weight", "guide", "kind", "owner", "bits",
          "characters", "table", "objects"]


def worker(queues, tokenizer_path, stage, start):
    """Endless batches, dealt out to the queues of the training processes."""
    os.nice(2)
    layout = Layout(Tokenizer.load(tokenizer_path))
    step = start
    while True:
        samples = [make_sample(scene_rng("training", stage.seed, step, i), layout, stage.length, stage.reading) for i in range(stage.batch)]
        # Pictures of fewer tiles last, so that masks for them touch one part of the batch.
        samples.sort(key=lambda s: -s[1])
        for r, queue in enumerate(queues):
            queue.put([np.stack([s[k] for s in samples[r::len(queues)]]) for k in range(len(FIELDS))])
        step += 1
