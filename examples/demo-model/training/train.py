"""Trains the demo model on the CPU.

    THREADS=1 . ./environment.sh && python3 train.py --run /tmp/demo-run

One run is a constant rate and then a linear decay to nothing. The schedule counts pictures
(--images, --decay); a file `decay-until` in the run folder with a time of day (17:35) starts the
decay at once and ends it then, for a machine that is shared. Decay quantises the text weights in
the forward pass, so that int4 answers like float. Stop it with SIGTERM, which saves first, and continue with --resume FILE;
--init-from FOLDER starts from an exported checkpoint.
"""

import argparse
import json
import signal
import time
from pathlib import Path

import torch
import torch.multiprocessing as mp

from configuration import model_config
from dataset import FIELDS, worker
from heads import DenseHeads
from initialise import initialise, keep_unused_slots_zero
from losses import Losses
from model import Mllama
from optimiser import Layout, Optimiser, Shared
from quantise import quantise_text
from tokenizer import Tokenizer
from weights import load_published, read_safetensors

CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoint"


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", type=Path, required=True, help="folder for the log and the checkpoints")
    p.add_argument("--images", type=int, default=120_000, help="pictures in all, decay included")
    p.add_argument("--decay", type=float, default=0.3, help="share of the pictures over which the rate decays")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--length", type=int, default=160, help="tokens of a row of questions")
    p.add_argument("--text-every", type=int, default=1, help="ask only about every n-th picture (2 saves a quarter of the time)")
    p.add_argument("--processes", type=int, default=2, help="each with one thread and an equal part of every batch")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--resume", type=Path, help="a file saved by an earlier run")
    p.add_argument("--init-from", type=Path, help="an exported checkpoint folder")
    p.add_argument("--rate", type=float, default=1.0, help="factor on all learning rates")
    return p.parse_args()


class Schedule:
    """Factor on the learning rates: warm-up, constant, linear decay."""

    def __init__(self, args, start):
        self.images, self.begin = args.images, args.images * (1 - args.decay)
        self.file, self.start, self.rate = args.run / "decay-until", start, args.rate
        self.clock = None

    def __call__(self, images, step):
        if self.clock is None and self.file.exists():
            hour, minute = map(int, self.file.read_text().strip().split(":"))
            now = time.localtime()
            end = time.time() + (hour * 60 + minute - now.tm_hour * 60 - now.tm_min) * 60 - now.tm_sec
            self.clock = (time.time(), end)
        if self.clock:
            left = (self.clock[1] - time.time()) / max(1.0, self.clock[1] - self.clock[0])
        else:
            left = (self.images - images) / max(1, self.images - self.begin)
        self.decaying, self.done = left < 1, left <= 0
        return self.rate * min(1.0, (step - self.start + 1) / 80) * max(0.01, min(1.0, left))


def save(path, model, heads, optimiser, progress):
    temporary = path.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "heads": heads.state_dict(), "optimiser": optimiser.state(),
                "config": model.config, **progress}, temporary)
    temporary.replace(path)


class Log:
    """Means over a minute, to log.jsonl and to the screen."""

    def __init__(self, folder, batch):
        self.file, self.batch = open(folder / "log.jsonl", "a"), batch
        self.sums, self.n, self.at = {}, 0, time.time()

    def add(self, stats, progress, factor, norm):
        for k, v in stats.items():
            total, count = self.sums.get(k, (0.0, 0))
            self.sums[k] = (total + v, count + 1)
        self.n += 1
        now = time.time()
        if now - self.at < 60:
            return
        line = {"step": progress["step"], "images": progress["images"], "minutes": round(progress["seconds"] / 60, 2),
                "perSecond": round(self.n * self.batch / (now - self.at), 1), "rate": round(factor, 3), "norm": round(norm, 2),
                **{k: round(total / count, 4) for k, (total, count) in self.sums.items()}}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        print(time.strftime("%H:%M:%S"), " ".join(f"{k} {v}" for k, v in line.items()), flush=True)
        self.sums, self.n, self.at = {}, 0, now


def train(rank, args, shared, barrier, queue):
    """One process. The first one has the schedule, the log and the files."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.load(CHECKPOINT / "tokenizer.json")
    model = Mllama(model_config())
    heads = DenseHeads(model.config["text_config"]["hidden_size"], model.vision_model)
    initialise(model, tokenizer.numbers)
    if args.init_from:
        load_published(model, read_safetensors(args.init_from / "model.safetensors"))
    state = torch.load(args.resume) if args.resume else None
    if state:
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
    barrier.wait()
    optimiser = Optimiser(model, heads, shared, rank, args.processes, first=rank == 0)
    if state:
        optimiser.load(state["optimiser"])
    progress = {k: state[k] if state else 0 for k in ("step", "images", "seconds")}
    text = model.config["text_config"]
    losses = Losses(tokenizer.numbers, text["vocab_size"], text["vocab_size"], text["cross_attention_layers"][1],
                    text_every=args.text_every)
    schedule, log, stop = Schedule(args, progress["step"]), Log(args.run, args.batch) if rank == 0 else None, []
    if rank == 0:
        signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
        print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {progress['step']}", flush=True)
    quantised, saved, before = False, time.time(), time.time()
    while True:
        if rank == 0:
            factor = schedule(progress["images"], progress["step"])
            shared.control[:] = torch.tensor([factor, schedule.decaying, schedule.done or bool(stop)], dtype=torch.float64)
        barrier.wait()              # the parameters are up to date everywhere
        factor, decaying, done = shared.control.tolist()
        if rank == 0 and (done or time.time() - saved > 240 or decaying and not quantised):
            save(args.run / ("before-decay.pt" if decaying and not quantised else "last.pt"), model, heads, optimiser, progress)
            saved = time.time()
        if done:
            break
        if decaying and not quantised:
            quantise_text(model)
            quantised = True
            if rank == 0:
                print(f"decay begins at {progress['images']} pictures", flush=True)
        batch = {name: torch.from_numpy(a) for name, a in zip(FIELDS, queue.get())}
        optimiser.clear()
        loss, stats = losses(model, heads, batch)
        loss.backward()
        barrier.wait()              # all gradients are there
        norm = optimiser.step(factor)
        now = time.time()
        progress = {"step": progress["step"] + 1, "images": progress["images"] + args.batch, "seconds": progress["seconds"] + now - before}
        before = now
        if rank == 0:
            log.add(stats, progress, factor, norm)
    if rank == 0:
        print(f"{progress['images']} pictures, {progress['seconds'] / 60:.1f} minutes", flush=True)


def main():
    args = arguments()
    args.run.mkdir(parents=True, exist_ok=True)
    context = mp.get_context("spawn")
    start = torch.load(args.resume)["step"] if args.resume else 0
    model = Mllama(model_config())
    shared = Shared(Layout(model, DenseHeads(model.config["text_config"]["hidden_size"], model.vision_model)).size, args.processes)
    queues = [context.Queue(4) for _ in range(args.processes)]
    barrier = context.Barrier(args.processes)
    children = [context.Process(target=worker, daemon=True,
                                args=(queues, CHECKPOINT / "tokenizer.json", args.seed, args.batch, args.length, start))]
    children += [context.Process(target=train, args=(r, args, shared, barrier, queues[r]), daemon=True)
                 for r in range(1, args.processes)]
    for child in children:
        child.start()
    train(0, args, shared, barrier, queues[0])
    children[0].terminate()


if __name__ == "__main__":
    main()
