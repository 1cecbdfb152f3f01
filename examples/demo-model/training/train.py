"""Trains the demo model on the CPU.

    THREADS=1 . ./environment.sh && python3 train.py --run /tmp/demo-run

Runs the stages of recipe.json one after the other, from nothing, with fixed seeds. The end of each is
STAGE.pt in the run folder. SIGTERM saves and stops; the same command goes on where it was, also after
a crash (it saves every 4 minutes). `--stage NAME --init-from FOLDER` runs one stage only, from an
exported checkpoint. The schedule counts pictures, never the time. Decay
quantises the text weights in the forward pass, so that int4 answers like float.
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
from initialise import initialise
from losses import Losses
from model import Mllama
from optimiser import Layout, Optimiser, Shared
from quantise import quantise_text
from recipe import RECIPE, read_recipe
from tokenizer import Tokenizer
from weights import mean_weights

CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoint"
SAVE_EVERY = 240


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", type=Path, required=True, help="folder for the log and the checkpoints")
    p.add_argument("--recipe", type=Path, default=RECIPE)
    p.add_argument("--stage", help="run only this stage")
    p.add_argument("--init-from", type=Path, help="an exported checkpoint folder to start from")
    p.add_argument("--compute", choices=["float32", "bfloat16"], default="float32",
                   help="type of the matrix products; bfloat16 is fast only where the processor has instructions for it")
    p.add_argument("--processes", type=int, default=2, help="each with one thread and an equal part of every batch")
    return p.parse_args()


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


def accumulate(losses, model, heads, batch, parts, only_heads):
    """The gradient of the mean over the parts; returns the means of the statistics."""
    sums = {}
    for i in range(parts):
        loss, stats = losses(model, heads, {name: values[i::parts] for name, values in batch.items()}, only_heads)
        (loss / parts).backward()
        for k, v in stats.items():
            if v == v:              # a part may have nothing of a kind
                sums.setdefault(k, []).append(v)
    return {k: sum(v) / len(v) for k, v in sums.items()}


def train(rank, args, stage, start, resume, shared, barrier, queue):
    """One process. The first one has the schedule, the log and the files."""
    torch.set_num_threads(1)
    torch.manual_seed(stage.seed)
    tokenizer = Tokenizer.load(CHECKPOINT / "tokenizer.json")
    model = Mllama(model_config(), compute=getattr(torch, args.compute))
    heads = DenseHeads(model.config["text_config"]["hidden_size"], model.vision_model)
    initialise(model, tokenizer.numbers)
    if start:
        model.load_state_dict(mean_weights(*start))
    state = torch.load(resume) if resume else None
    if state:
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
    barrier.wait()
    optimiser = Optimiser(model, heads, shared, rank, args.processes, first=rank == 0, compute=model.compute)
    if state:
        optimiser.load(state["optimiser"])
    progress = {k: state[k] if state else 0 for k in ("step", "images", "seconds")} | {"stage": stage.name}
    text = model.config["text_config"]
    losses = Losses(tokenizer.numbers, text["vocab_size"], text["vocab_size"], text["cross_attention_layers"][1],
                    text_every=stage.textEvery)
    log, stop = Log(args.run, stage.batch) if rank == 0 else None, []
    if rank == 0:
        signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
        print(f"stage {stage.name}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {progress['step']}", flush=True)
    quantised, saved, before = False, time.time(), time.time()
    while True:
        factor, decaying = stage.factor(progress["images"])
        finished = progress["images"] >= stage.images
        if rank == 0:
            shared.control[0] = finished or bool(stop)
        barrier.wait()              # the parameters are up to date everywhere
        done = bool(shared.control[0])
        if rank == 0 and (done or time.time() - saved > SAVE_EVERY or decaying and not quantised):
            name = stage.name if finished else "before-decay" if decaying and not quantised else "last"
            save(args.run / f"{name}.pt", model, heads, optimiser, progress)
            saved = time.time()
        if done:
            break
        if decaying and not quantised:
            quantise_text(model)
            quantised = True
            if rank == 0:
                print(f"decay begins at {progress['images']} pictures", flush=True)
        batch = {name: torch.from_numpy(a) for name, a in zip(FIELDS, queue.get())}
        only_heads = progress["images"] < stage.headsOnly
        optimiser.clear()
        stats = accumulate(losses, model, heads, batch, stage.batch // args.processes // stage.part or 1, only_heads)
        barrier.wait()              # all gradients are there
        norm = optimiser.step(factor, only_heads)
        now = time.time()
        progress |= {"step": progress["step"] + 1, "images": progress["images"] + stage.batch, "seconds": progress["seconds"] + now - before}
        before = now
        if rank == 0:
            log.add(stats, progress, factor, norm)
    if rank == 0:
        print(f"{progress['images']} pictures, {progress['seconds'] / 60:.1f} minutes", flush=True)
    return finished


def run_stage(args, stage, start):
    """True when the stage is finished, False when it was stopped."""
    last = args.run / "last.pt"
    state = torch.load(last) if last.exists() else None
    resume, step = (last, state["step"]) if state and state["stage"] == stage.name else (None, 0)
    context = mp.get_context("spawn")
    model = Mllama(model_config())
    shared = Shared(Layout(model, DenseHeads(model.config["text_config"]["hidden_size"], model.vision_model)).size, args.processes)
    queues = [context.Queue(4) for _ in range(args.processes)]
    barrier = context.Barrier(args.processes)
    children = [context.Process(target=worker, daemon=True, args=(queues, CHECKPOINT / "tokenizer.json", stage, step))]
    children += [context.Process(target=train, args=(r, args, stage, start, resume, shared, barrier, queues[r]), daemon=True)
                 for r in range(1, args.processes)]
    for child in children:
        child.start()
    finished = train(0, args, stage, start, resume, shared, barrier, queues[0])
    for child in children[1:]:
        child.join()
    children[0].terminate()
    return finished


def main():
    args = arguments()
    args.run.mkdir(parents=True, exist_ok=True)
    before = ([args.init_from],) if args.init_from else None
    for stage in read_recipe(args.recipe):
        if args.stage and stage.name != args.stage:
            continue
        end = args.run / f"{stage.name}.pt"
        start = before if args.stage or not stage.start else ([args.run / f"{name}.pt" for name in stage.start], list(stage.start.values()))
        if not end.exists() and not run_stage(args, stage, start):
            break
        before = ([end],)


if __name__ == "__main__":
    main()
