"""Training-only heads on the projected states: what each patch shows and what is known of that thing.

They make the states carry class, colour, extent, neighbours, counts and text, so that the text
decoder has something to read. They are dropped on export.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from glyphs import CHARACTERS
from model import Linear
from shapes import CLASSES
from targets import FIELDS
from world import COLOURS, MAX_OBJECTS

# Heads on every patch: (name, classes, weight); the last class of each is "nothing".
PATCH_HEADS = [("class", len(CLASSES) + 1, 1.0), ("colour", len(COLOURS) + 1, 0.7), ("rank", MAX_OBJECTS + 1, 0.5),
               ("character", len(CHARACTERS) + 1, 1.5)]
# Heads on the patches of things: (field, classes, weight).
OBJECT_HEADS = [("sameClass", MAX_OBJECTS, 0.2), ("sameColour", MAX_OBJECTS, 0.2),
                ("leftClass", len(CLASSES) + 1, 0.1), ("leftColour", len(COLOURS) + 1, 0.1),
                ("rightClass", len(CLASSES) + 1, 0.1), ("rightColour", len(COLOURS) + 1, 0.1)]
TEXT_FIELDS = ["text0", "text1", "text2", "text3"]
BOX_BINS = 100


def soft_bins(sigma=1.0):
    """[100, 100]: a Gaussian over the bins around each bin."""
    i = torch.arange(BOX_BINS).float()
    g = torch.exp(-0.5 * ((i[:, None] - i[None]) / sigma) ** 2)
    return g / g.sum(1, keepdim=True)


class DenseHeads(nn.Module):
    def __init__(self, size, vision):
        super().__init__()
        self.tiles, self.patches, self.grid = vision.tiles, vision.patches, vision.grid
        self.patch = Linear(size, sum(n for _, n, _ in PATCH_HEADS), True)
        self.thing = Linear(size, sum(n for _, n, _ in OBJECT_HEADS), True)
        self.box = Linear(size, 4 * BOX_BINS + 4, True)
        self.text = Linear(size, len(TEXT_FIELDS) * (len(CHARACTERS) + 1), True)
        self.lamp = Linear(size, 2, True)
        self.total = Linear(size, MAX_OBJECTS + 1, True)
        self.register_buffer("soft", soft_bins(), persistent=False)

    def forward(self, states, batch):
        """Weighted sum of the losses and their values."""
        b = states.shape[0]
        states = states.view(b, self.tiles, self.patches, -1)
        per_patch = states[:, :, 1:].reshape(b * self.tiles * (self.patches - 1), -1)
        owner = batch["owner"].flatten()
        picture = torch.arange(b).repeat_interleave(owner.shape[0] // b)
        known = batch["table"][picture, owner.clamp(min=0)]                # [patches, fields]
        column = {name: known[:, i] for i, name in enumerate(FIELDS)}
        on_thing = owner >= 0
        losses = {}
        values = {"class": torch.where(on_thing, column["class"], len(CLASSES)),
                  "colour": torch.where(on_thing, column["colour"], len(COLOURS)),
                  "rank": torch.where(on_thing, column["rank"], MAX_OBJECTS), "character": batch["characters"].flatten()}
        outputs = self.patch(per_patch).float().split([n for _, n, _ in PATCH_HEADS], -1)
        for (name, n, weight), out in zip(PATCH_HEADS, outputs):
            each, something = F.cross_entropy(out, values[name], reduction="none"), values[name] < n - 1
            if name == "character":
                # Few patches show a character: the two kinds are averaged apart.
                loss = each[something].sum() / something.sum().clamp(min=1) + 0.2 * each[~something].mean()
            else:
                scale = torch.where(something, 1.0, 0.2)
                loss = (each * scale).sum() / scale.sum()
            losses[name] = (weight, loss)
        things = on_thing.nonzero().squeeze(1)
        x = per_patch.index_select(0, things)
        written = (values["character"] < len(CHARACTERS)).nonzero().squeeze(1)
        read = {"charAcc": (outputs[3][written].argmax(-1) == values["character"][written]).float().mean().item()} if len(written) else {}
        accuracy = (outputs[0][things].argmax(-1) == column["class"][things]).float().mean().item()
        out = self.thing(x).float().split([n for _, n, _ in OBJECT_HEADS], -1)
        for (name, _, weight), o in zip(OBJECT_HEADS, out):
            losses[name] = (weight, F.cross_entropy(o, column[name][things]))
        self.box_losses(losses, x, things, known)
        self.special_losses(losses, x, column, things)
        total = self.total(states[:, :, 0].mean(1)).float()
        losses["total"] = (0.2, F.cross_entropy(total, batch["objects"]))
        return sum(w * l for w, l in losses.values()), {k: l.item() for k, (_, l) in losses.items()} | {"patchAcc": accuracy} | read

    def box_losses(self, losses, x, things, known):
        box = known[things][:, FIELDS.index("x1"):FIELDS.index("y2") + 1]
        out = self.box(x).float()
        bins = out[:, :4 * BOX_BINS].view(-1, 4, BOX_BINS).log_softmax(-1)
        losses["bins"] = (0.3, -(self.soft[box] * bins).sum(-1).mean())
        # Edges relative to the patch, in the units of a canvas of two tiles; other canvases are rare.
        within = things % (self.tiles * self.grid ** 2)
        tile, patch = within // self.grid ** 2, within % self.grid ** 2
        unit = 100 / (2 * self.grid)
        px = (tile % 2 * self.grid + patch % self.grid + 0.5) * unit
        py = (tile // 2 * self.grid + patch // self.grid + 0.5) * unit
        centre = torch.stack([px, py, px, py], 1)
        losses["edges"] = (3.0, F.smooth_l1_loss(out[:, 4 * BOX_BINS:], (box + 0.5 - centre) / 15, beta=0.1))

    def special_losses(self, losses, x, column, things):
        cls = column["class"][things]
        sign = (cls == CLASSES.index("sign")).nonzero().squeeze(1)
        if len(sign):
            out = self.text(x[sign]).float().view(len(sign), len(TEXT_FIELDS), -1)
            text = torch.stack([column[f][things][sign] for f in TEXT_FIELDS], 1)
            losses["text"] = (0.3, F.cross_entropy(out.flatten(0, 1), text.flatten()))
        lamp = (cls == CLASSES.index("lamp")).nonzero().squeeze(1)
        if len(lamp):
            losses["lamp"] = (0.2, F.cross_entropy(self.lamp(x[lamp]).float(), column["lamp"][things][lamp]))
