"""Byte-level BPE with the special tokens of Llama 3: a small trainer, an encoder, the Hugging Face file.

The vocabulary is 757 ordinary tokens and 11 special ones, 768 in all; `<|image|>` is 768, one past
the rows of lm_head, as in the published models. The numbers 0 to 99 and the punctuation of the
compact JSON answers are single tokens; capital letters are never merged with each other, so that the
text of a sign is spelt.
"""

import json
import re
from collections import Counter
from functools import lru_cache

VOCAB_SIZE = 768
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
           "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
           "<|eot_id|>", "<|python_tag|>"]
IMAGE = "<|image|>"
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# The same for ASCII text, which is all that training writes; `re` has no \p{...}.
_ASCII = re.compile(PATTERN.replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9").replace("]?A-Za-z+", "]?[A-Za-z]+")
                    .replace("|0-9{1,3}", "|[0-9]{1,3}"))
JSON_PIECES = ['{"', '":"', '","', '":[', ']},{"', ']}', ']}]', '":', '}', '[{"', '[]', ' "', '."', '",', '".']

CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
# Words of a visitor that the questions do not hold; they fill the vocabulary.
EXTRA_WORDS = """hello thanks thank you hi please robot bring take give put pick move hand front behind under above near
next between big small large tiny color name what's who why when this that these those with without for from
about only also many much people thing front ready start stop help open close turn light dark bright""".split()


def byte_alphabet():
    """Byte -> printable character, the byte-level alphabet of GPT-2 and its successors."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return {b: chr(b) if b in kept else chr(next(spare)) for b in range(256)}


_ALPHABET = byte_alphabet()
_BYTES = {c: b for b, c in _ALPHABET.items()}


def spelled(text):
    return "".join(_ALPHABET[b] for b in text.encode())


def pretokens(text):
    return [m.group() for m in _ASCII.finditer(text)]


def apply_merge(parts, a, b):
    out, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and parts[i] == a and parts[i + 1] == b:
            out.append(a + b)
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def train(texts, vocabulary=VOCAB_SIZE - len(SPECIAL)):
    """Merges learnt from the texts, after the fixed ones for numbers and JSON."""
    merges, known = [], set(_ALPHABET.values())

    def add(a, b):
        merges.append((a, b))
        known.add(a + b)

    for n in range(10, 100):
        add(*str(n))
    for piece in JSON_PIECES:
        parts = list(spelled(piece))
        for a, b in merges:
            parts = apply_merge(parts, a, b)
        while len(parts) > 1:
            add(parts[0], parts[1])
            parts = apply_merge(parts, parts[0], parts[1])
    counts = Counter(w for text in texts for w in pretokens(text))
    words = []
    for word, n in sorted(counts.items()):
        parts = list(spelled(word))
        for a, b in merges:
            parts = apply_merge(parts, a, b)
        words.append((parts, n))
    while 256 + len(merges) < vocabulary:
        pairs = Counter()
        for parts, n in words:
            for a, b in zip(parts, parts[1:]):
                if not (a[-1] in CAPITALS and b[0] in CAPITALS) and not (a[-1].isdigit() or b[0].isdigit()):
                    if a + b not in known:
                        pairs[a, b] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        add(*best)
        words = [(apply_merge(parts, *best), n) for parts, n in words]
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        ordinary = sorted(_ALPHABET.values()) + [a + b for a, b in self.merges]
        self.ids = {token: i for i, token in enumerate(ordinary)}
        assert len(self.ids) == len(ordinary) == VOCAB_SIZE - len(SPECIAL), len(ordinary)
        self.special = {token: len(ordinary) + i for i, token in enumerate(SPECIAL)} | {IMAGE: VOCAB_SIZE}
        self.tokens = ordinary + SPECIAL + [IMAGE]
        self.numbers = [self.ids[str(n)] for n in range(100)]
        self._ranks = {m: i for i, m in enumerate(self.merges)}
        self._word = lru_cache(maxsize=200_000)(self._encode_word)

    @classmethod
    def load(cls, path):
        with open(path) as file:
            return cls([m.split(" ") if isinstance(m, str) else m for m in json.load(file)["model"]["merges"]])

    def _encode_word(self, word):
        """ids and lengths in characters of one pre-token (ASCII)."""
        parts = list(spelled(word))
        if "".join(parts) in self.ids:      # ignore_merges
            return [self.ids["".join(parts)]], [len(word)]
        while len(parts) > 1:
            rank, best = min((self._ranks.get(p, 1 << 30), p) for p in zip(parts, parts[1:]))
            if rank == 1 << 30:
                break
            parts = apply_merge(parts, *best)
        return [self.ids[p] for p in parts], [len(p) for p in parts]

    def encode(self, text):
        return [i for w in pretokens(text) for i in self._word(w)[0]]

    def encode_with_ends(self, text):
        """ids and, for each, the offset of its last character + 1."""
        ids, ends, at = [], [], 0
        for w in pretokens(text):
            for i, n in zip(*self._word(w)):
                at += n
                ids.append(i)
                ends.append(at)
        return ids, ends

    def decode(self, ids):
        """Text without the special tokens."""
        limit = VOCAB_SIZE - len(SPECIAL)
        return bytes(_BYTES[c] for i in ids if i < limit for c in self.tokens[i]).decode(errors="replace")

    def huggingface(self):
        """The content of tokenizer.json."""
        added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                  "normalized": False, "special": True} for token, i in self.special.items()]
        return {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
            "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                      "vocab": self.ids, "merges": [f"{a} {b}" for a, b in self.merges]},
        }


def corpus(scenes=4000):
    """Questions and answers of the training world, and the words of the chat layout."""
    from questions import PHRASES, Asker
    from world import sample_scene, scene_rng
    texts = [re.sub(r" ?\{.\}", "", p) for phrases in PHRASES.values() for p in phrases for _ in range(30)]
    texts += [form for w in EXTRA_WORDS for form in (w, " " + w, w.capitalize()) for _ in range(2)]
    texts += [w for w in ("user", "assistant", "\n\n", "system", "tool") for _ in range(20_000)]
    for i in range(scenes):
        rng = scene_rng("tokenizer", i)
        asker = Asker(rng, sample_scene(rng, 1.0))
        for ask in (asker.caption, asker.list, asker.list_of, asker.locate, asker.exists, asker.count, asker.count_of,
                    asker.colour, asker.left_right, asker.lamp, asker.sign):
            question = ask()
            if question:
                # Every word by its own, so that frequent long answers do not outweigh the questions.
                texts += [question.text] * 2 + [question.answer_text]
    return texts


if __name__ == "__main__":
    import sys
    trained = Tokenizer(train(corpus()))
    with open(sys.argv[1], "w") as file:
        json.dump(trained.huggingface(), file, ensure_ascii=False, indent=1)
    print(len(trained.ids), "ordinary tokens")
