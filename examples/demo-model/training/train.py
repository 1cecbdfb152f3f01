"""Trains the demo model on the CPU.

    . ./environment.sh && python3 train.py --run /tmp/demo-run

One run is a constant rate and then a linear decay to nothing. The schedule counts pictures
(--images, --decay); a file `decay-until` in the run folder with a time of day (17:35) starts the
decay at once and ends it then, for a machine that is shared. Decay quantises the text weights in
the forward pass, so that int4 answers like float. Stop it with SIGTERM, which saves first, and continue with --resume FILE;
--init-from FOLDER starts from an exported checkpoint.
"""

import argparse
import json
import multiprocessing as mp
import signal
import time
from pathlib import Path

import torch

from configuration import model_config
from dataset import FIELDS, worker
from heads import DenseHeads
from initialise import initialise, keep_unused_slots_zero
from losses import Losses
from model import Mllama
from optimiser import Optimiser
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
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--resume", type=Path, help="a file saved by an earlier run")
    p.add_argument("--init-from", type=Path, help="an exported checkpoint folder")
    p.add_argument("--rate", type=float, default=1.0, help="factor on all learning rates")
    p.add_argument("--profile", action="store_true", help="profile the fourth step and stop")
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


def save(path, model, heads, optimiser, step, images, seconds):
    temporary = path.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "heads": heads.state_dict(), "optimiser": optimiser.state(), "step": step,
                "images": images, "seconds": seconds, "config": model.config}, temporary)
    temporary.replace(path)


def main():
    args = arguments()
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.load(CHECKPOINT / "tokenizer.json")
    model = Mllama(model_config())
    heads = DenseHeads(model.config["text_config"]["hidden_size"], model.vision_model)
    initialise(model, tokenizer.numbers)
    if args.init_from:
        load_published(model, read_safetensors(args.init_from / "model.safetensors"))
    optimiser = Optimiser(model, heads)
    step, images, seconds = 0, 0, 0.0
    if args.resume:
        saved = torch.load(args.resume)
        model.load_state_dict(saved["model"])
        heads.load_state_dict(saved["heads"])
        optimiser.load(saved["optimiser"])
        step, images, seconds = saved["step"], saved["images"], saved["seconds"]
    text = model.config["text_config"]
    losses = Losses(tokenizer.numbers, text["vocab_size"], text["vocab_size"], text["cross_attention_layers"][1],
                    text_every=args.text_every)
    queue = mp.Queue(6)
    renderer = mp.Process(target=worker, daemon=True,
                          args=(queue, CHECKPOINT / "tokenizer.json", args.seed, args.batch, args.length, step))
    renderer.start()
    log = open(args.run / "log.jsonl", "a")
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {step}", flush=True)
    schedule, sums, n, logged, saved_at = Schedule(args, step), {}, 0, time.time(), time.time()
    quantised, before, stop = False, time.time(), []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    while True:
        factor = schedule(images, step)
        if schedule.done or stop:
            break
        if schedule.decaying and not quantised:
            save(args.run / "before-decay.pt", model, heads, optimiser, step, images, seconds)
            quantise_text(model)
            quantised = True
            print(f"decay begins at {images} pictures", flush=True)
        _, arrays = queue.get()
        batch = {name: torch.from_numpy(a) for name, a in zip(FIELDS, arrays)}
        profiler = torch.profiler.profile() if args.profile and step == 3 else None
        if profiler:
            profiler.__enter__()
        loss, stats = losses(model, heads, batch)
        loss.backward()
        norm = optimiser.step(factor)
        if profiler:
            profiler.__exit__(None, None, None)
            print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=32, max_name_column_width=44))
            return
        step, images, now = step + 1, images + args.batch, time.time()
        seconds, before = seconds + now - before, now
        for k, v in stats.items():
            total, count = sums.get(k, (0.0, 0))
            sums[k] = (total + v, count + 1)
        n += 1
        if now - logged > 60 or step <= 3:
            means = {k: round(total / count, 4) for k, (total, count) in sums.items()}
            line = {"step": step, "images": images, "minutes": round(seconds / 60, 2), "perSecond": round(n * args.batch / (now - logged), 1),
                    "rate": round(factor, 3), "norm": round(norm, 2), **means}
            log.write(json.dumps(line) + "\n")
            log.flush()
            print(time.strftime("%H:%M:%S"), " ".join(f"{k} {v}" for k, v in line.items()), flush=True)
            sums, n, logged = {}, 0, now
        if now - saved_at > 240:
            save(args.run / "last.pt", model, heads, optimiser, step, images, seconds)
            saved_at = now
    save(args.run / "last.pt", model, heads, optimiser, step, images, seconds)
    renderer.terminate()
    print(f"{'stopped' if stop else 'done'}: {images} pictures, {seconds / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
