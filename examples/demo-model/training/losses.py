"""The training loss: answers, guided attention, dense heads."""

import torch
import torch.nn.functional as F

from dataset import BOXED, TASKS
from heads import soft_bins
from model import NEGATIVE


class Losses:
    def __init__(self, numbers, vocab, image_token, guide_layer, guide_weight=0.3, dense_weight=1.0, text_every=1):
        """`text_every`: only every n-th picture of a batch is asked about. The dense heads see all of them, and
        at the start it is the picture's features that take the time to learn."""
        self.image_token, self.guide_layer = image_token, guide_layer
        self.guide_weight, self.dense_weight, self.text_every = guide_weight, dense_weight, text_every
        numbers = torch.tensor(numbers)
        self.is_number = torch.zeros(vocab, dtype=torch.bool)
        self.is_number[numbers] = True
        # Rows 0..vocab-1 are one-hot; rows vocab.. spread a coordinate over its neighbours.
        self.soft = torch.eye(vocab).repeat(2, 1)
        self.soft[(vocab + numbers)[:, None], numbers[None]] = soft_bins()
        self.vocab = vocab
        self.boxed = torch.tensor([t in BOXED for t in TASKS])

    def __call__(self, model, heads, batch, only_heads=False):
        with torch.set_grad_enabled(not only_heads):
            states = model.features(batch["tiles"], batch["aspect"], batch["counts"])
        dense, dense_stats = heads(states, batch)
        if only_heads:
            return self.dense_weight * dense, dense_stats
        if self.text_every > 1:
            states = states[::self.text_every]
            batch = {name: values[::self.text_every] for name, values in batch.items()}
        picture = model.picture(states)
        segment, length = batch["segment"], batch["ids"].shape[1]
        same = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
        allowed = same & torch.ones(length, length, dtype=torch.bool).tril()
        mask = torch.zeros(allowed.shape, dtype=model.compute).masked_fill_(~allowed, NEGATIVE)
        sees = batch["positions"] >= int((batch["ids"][0] == self.image_token).nonzero()[0])
        h, queries = model.text(batch["ids"], batch["positions"], mask, sees, picture, batch["counts"])
        loss, stats = self.answers(model, h, batch)
        guide = self.guide(queries[self.guide_layer], picture[self.guide_layer][0], batch, model)
        stats |= {"guide": guide.item()} | dense_stats
        return loss + self.guide_weight * guide + self.dense_weight * dense, stats

    def answers(self, model, h, batch):
        labels = batch["labels"].flatten()
        chosen = (labels >= 0).nonzero().squeeze(1)
        y, w, kind = labels[chosen], batch["weight"].flatten()[chosen], batch["kind"].flatten()[chosen]
        logp = model.logits(h.flatten(0, 1).index_select(0, chosen)).log_softmax(-1)
        coordinate = self.is_number[y] & self.boxed[kind]
        nll = -(self.soft[y + self.vocab * coordinate.long()] * logp).sum(-1)
        with torch.no_grad():
            right = (logp.argmax(-1) == y).float()
            stats = {"coord": nll[coordinate].mean().item(), "word": nll[~coordinate].mean().item()}
            for i, task in enumerate(TASKS):
                first = (kind == i) & ~coordinate & ((w > 1) | ((w == 1) & (task in ("leftRight", "absentSaid", "caption"))))
                if first.any():
                    stats["a." + task] = right[first].mean().item()
        return (nll * w).sum() / w.sum(), {"answer": nll.mean().item()} | stats

    def guide(self, queries, keys, batch, model):
        """-log of the attention of the first kv group on the patches that the next token is about."""
        text, vision = model.config["text_config"], model.vision_model
        b, length = batch["ids"].shape
        kv = text["num_key_value_heads"]
        group = text["num_attention_heads"] // kv
        scores = torch.bmm(queries.view(b, kv, -1, queries.shape[-1])[:, 0], keys.view(b, kv, -1, keys.shape[-1])[:, 0].transpose(1, 2))
        rows = batch["guide"].flatten().nonzero().squeeze(1)
        scores = scores.view(b, group, length, -1).transpose(1, 2).reshape(b * length, group, -1).index_select(0, rows).float()
        bits = F.pad(batch["bits"].view(b, vision.tiles, -1), (1, 0)).flatten(1)     # the class token is about nothing
        target = (bits[rows // length] & batch["guide"].flatten()[rows, None]) != 0
        seen = target.any(-1)
        inside = torch.logsumexp(scores.masked_fill(~target[:, None], -1e4), -1)
        value = (torch.logsumexp(scores, -1) - inside).mean(1)
        return (value * seen).sum() / seen.sum().clamp(min=1)
