"""Trains the detector, from nothing or on from where it was stopped.

    train.py --run FOLDER [--minutes M] [--pictures N] [--epochs E]

FOLDER/state.pt is written after every epoch and when the minutes are over; the same command goes on. The schedule counts
steps, seeds are fixed.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from model import MEAN, STD, Detector, decode, iou, loss
from scenes import SIDE, render

BATCH = 32
RATE = 2e-3


def prepared(pictures):
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def mirrored(pictures, tables, rng):
    """Half of the pictures the other way round; grey stays on its side because only whole widths are mirrored."""
    flip = (rng.random(len(pictures)) < 0.5) & (pictures[:, 0, -1] != 114).any(axis=-1)
    pictures, tables = pictures.copy(), tables.copy()
    pictures[flip] = pictures[flip, :, ::-1]
    there = flip[:, None] & (tables[:, :, 0] >= 0)
    x1, x2 = tables[..., 2].copy(), tables[..., 4].copy()
    tables[..., 2] = np.where(there, SIDE - x2, x1)
    tables[..., 4] = np.where(there, SIDE - x1, x2)
    return pictures, tables


@torch.no_grad()
def measure(detector, pictures, tables):
    """Share of things whose best cell of their label overlaps by half; and false boxes a picture, both above 0.3."""
    detector.eval()
    found = things = said = 0
    for k in range(0, len(pictures), 100):
        table = torch.from_numpy(tables[k:k + 100])
        thing, classes, colours, edges = detector(prepared(pictures[k:k + 100]))
        p = torch.sigmoid(thing)
        peak = (p == torch.nn.functional.max_pool2d(p[:, None], 3, 1, 1)[:, 0]) & (p > 0.3)
        boxes, cls, colour = decode(edges), classes.argmax(1), colours.argmax(1)
        for i in range(len(table)):
            rows = peak[i]
            b, c, l = boxes[i][rows], cls[i][rows], colour[i][rows]
            said += len(b)
            for t in table[i]:
                if t[0] < 0:
                    continue
                things += 1
                if len(b) and ((iou(b, t[None, 2:]) >= 0.5) & (c == t[0]) & (l == t[1])).any():
                    found += 1
    return found / things, (said - found) / len(pictures)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=1e9)
    p.add_argument("--pictures", type=int, default=16000)
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    started = time.monotonic()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    args.run.mkdir(parents=True, exist_ok=True)
    cache = args.run / "pictures.npz"
    if not cache.exists():
        pictures, tables = render("training", args.pictures)
        np.savez(cache, pictures=pictures, tables=tables)
        print(f"rendered {len(pictures)} in {time.monotonic() - started:.0f} s", flush=True)
    with np.load(cache) as held:
        pictures, tables = held["pictures"], held["tables"]
    tests = render("test", 500)
    detector = Detector()
    optimiser = torch.optim.AdamW(detector.parameters(), lr=RATE, weight_decay=0.02)
    epoch, first, state = 0, 0, args.run / "state.pt"
    if state.exists():
        held = torch.load(state)
        detector.load_state_dict(held["detector"])
        optimiser.load_state_dict(held["optimiser"])
        epoch, first = held["epoch"], held.get("step", 0)

    def save(epoch, step):
        torch.save({"detector": detector.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch, "step": step}, state)

    print(f"{sum(v.numel() for v in detector.parameters())} parameters, epoch {epoch} of {args.epochs}, step {first}", flush=True)
    steps = len(pictures) // BATCH
    while epoch < args.epochs:
        order, total = np.random.default_rng(epoch).permutation(len(pictures)), 0.0
        detector.train()
        for step in range(first, steps):
            if (time.monotonic() - started) / 60 > args.minutes:
                save(epoch, step)
                print(f"epoch {epoch + 1} stopped at step {step} of {steps}: loss {total / max(1, step - first):.3f}", flush=True)
                return
            at = epoch * steps + step
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1.0, (at + 1) / 200) * (0.01 + 0.99 * (1 + math.cos(math.pi * at / (args.epochs * steps))) / 2)
            rows = order[step * BATCH:(step + 1) * BATCH]
            picked, table = mirrored(pictures[rows], tables[rows], np.random.default_rng((epoch, step)))
            value = loss(detector(prepared(picked)), torch.from_numpy(table))
            optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
            optimiser.step()
            total += value.item()
        epoch += 1
        save(epoch, 0)
        found, wrong = measure(detector, *tests)
        print(f"epoch {epoch}: loss {total / (steps - first):.3f}, found {found:.3f}, false boxes a picture {wrong:.3f}", flush=True)
        first = 0


if __name__ == "__main__":
    main()
