"""Greedy answers of the model for many pictures and questions."""

import torch
from PIL import Image

from configuration import EOS, MAX_TILES, TILE
from dataset import Layout
from model import causal_mask
from processor import process


@torch.no_grad()
def picture_states(model, images, batch=50):
    """Projected states and tile counts of PIL images."""
    states, counts = [], []
    for i in range(0, len(images), batch):
        done = [process(image.convert("RGB") if isinstance(image, Image.Image) else image, TILE, MAX_TILES) for image in images[i:i + batch]]
        n = torch.tensor([d[1] for d in done])
        tiles = torch.stack([torch.from_numpy(d[0]) for d in done])
        states.append(model.features(tiles, torch.tensor([d[2] for d in done]), n))
        counts.append(n)
    return torch.cat(states), torch.cat(counts)


@torch.no_grad()
def answers(model, tokenizer, states, counts, questions, limit=110, batch=100):
    """One answer for each row of states. Prompts of equal length go together."""
    layout = Layout(tokenizer)
    prompts = [layout.prompt(q) for q in questions]
    out = [""] * len(prompts)
    by_length = {}
    for i, p in enumerate(prompts):
        by_length.setdefault(len(p), []).append(i)
    for rows in by_length.values():
        for k in range(0, len(rows), batch):
            part = rows[k:k + batch]
            ids = torch.tensor([prompts[i] for i in part])
            for i, tokens in zip(part, greedy(model, states[part], counts[part], ids, len(layout.start) - 1, limit)):
                out[i] = tokenizer.decode(tokens)
    return out


def greedy(model, states, counts, ids, image_at, limit):
    picture, cache, length = model.picture(states), {}, ids.shape[1]
    n = len(ids)
    positions = torch.arange(length).expand(n, -1)
    h, _ = model.text(ids, positions, causal_mask(length, n), positions >= image_at, picture, counts, cache)
    done, results = torch.zeros(n, dtype=torch.bool), [[] for _ in range(n)]
    for step in range(limit):
        token = model.logits(h[:, -1]).argmax(-1)
        for i, t in enumerate(token.tolist()):
            done[i] |= t in EOS
            if not done[i]:
                results[i].append(t)
        if done.all():
            break
        positions = torch.full((n, 1), length + step)
        h, _ = model.text(token[:, None], positions, None, positions >= 0, picture, counts, cache)
    return results
