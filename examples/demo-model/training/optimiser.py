"""Muon for the layer matrices, AdamW for the rest, over parameters that several processes share.

Parameters, gradients and the optimiser's state lie in flat shared tensors. Each process computes the
gradient of its part of a batch; then each updates its share of the parameters for all of them.
"""

import torch

MUON_RATE, ADAM_RATE, SMALL_FACTOR = 0.02, 3e-3, 2.0
MUON_DECAY, ADAM_DECAY = 0.01, 0.005
BETAS, EPSILON, CLIP = (0.9, 0.98), 1e-8, 2.0
MUON_MOMENTUM = 0.95


def is_matrix(name, p):
    return p.ndim == 2 and ("layers" in name or name.startswith("multi_modal"))


def is_small(name, p):
    return "gate" in name and p.numel() == 1 or "q_norm" in name or "k_norm" in name


def orthogonal(x, compute):
    """Five Newton-Schulz steps towards the nearest orthogonal matrices, batched."""
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).to(compute).contiguous()
    for _ in range(5):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.bmm(torch.bmm(gram, gram).mul_(2.0315).add_(gram, alpha=-4.7750), x).add_(x, alpha=3.4445)
    return (x.transpose(1, 2) if tall else x).float()


class Layout:
    """Where each parameter lies in the flat tensors: matrices first, then the rest."""

    def __init__(self, model, heads):
        named = [*model.named_parameters(), *((f"heads.{n}", p) for n, p in heads.named_parameters())]
        named.sort(key=lambda item: not is_matrix(*item))
        self.entries, at = [], 0
        for name, p in named:
            self.entries.append((name, p, slice(at, at + p.numel())))
            at += p.numel()
        self.size = at
        self.matrices = sum(p.numel() for name, p in named if is_matrix(name, p))


class Shared:
    """The flat tensors; created by the first process and handed to the others."""

    def __init__(self, size, processes):
        self.parameters = torch.zeros(size).share_memory_()
        self.gradients = torch.zeros(processes, size).share_memory_()
        self.momentum = torch.zeros(size).share_memory_()        # Muon's, and the first moment of AdamW
        self.square = torch.zeros(size).share_memory_()
        self.control = torch.zeros(3, dtype=torch.float64).share_memory_()   # rate factor, decaying, stop


class Optimiser:
    def __init__(self, model, heads, shared, rank, processes, first, compute):
        """`first`: this process' values are the ones to start from."""
        self.shared, self.rank, self.processes, self.updates, self.compute = shared, rank, processes, 0, compute
        layout = Layout(model, heads)
        self.clipped = slice(layout.matrices, layout.size)
        for name, p, at in layout.entries:
            if first:
                shared.parameters[at] = p.data.flatten()
            p.data = shared.parameters[at].view(p.shape)
            p.grad = shared.gradients[rank, at].view(p.shape)
        self.names = {name: at for name, _, at in layout.entries}
        matrices = [(p.shape, at) for name, p, at in layout.entries if is_matrix(name, p)]
        others = [(is_small(name, p), name.startswith("heads."), at) for name, p, at in layout.entries if not is_matrix(name, p)]
        self.groups = {}
        for shape, at in sorted(matrices, key=lambda m: tuple(m[0]))[rank::processes]:
            self.groups.setdefault(tuple(shape), []).append(at)
        self.others = others[rank::processes]

    def clear(self):
        self.shared.gradients[self.rank].zero_()

    def gradient(self, at):
        return self.shared.gradients[:, at].mean(0)

    @torch.no_grad()
    def step(self, factor, only_heads=False):
        """After all processes have their gradients. Returns the norm of what AdamW handles."""
        self.updates += 1
        norm = float(self.gradient(self.clipped).norm())
        for shape, places in ({} if only_heads else self.groups).items():
            grad = torch.stack([self.gradient(at).view(shape) for at in places])
            momentum = torch.stack([self.shared.momentum[at].view(shape) for at in places])
            momentum.mul_(MUON_MOMENTUM).add_(grad, alpha=1 - MUON_MOMENTUM)
            update = orthogonal(grad.mul_(1 - MUON_MOMENTUM).add_(momentum, alpha=MUON_MOMENTUM), self.compute)
            rate = MUON_RATE * factor
            scale = max(1, shape[0] / shape[1]) ** 0.5
            for at, m, u in zip(places, momentum, update):
                self.shared.momentum[at] = m.flatten()
                self.shared.parameters[at].mul_(1 - rate * MUON_DECAY).add_(u.flatten(), alpha=-rate * scale)
        shrink = min(1.0, CLIP / (norm + 1e-6))
        for small, of_heads, at in self.others:
            if only_heads and not of_heads:
                continue
            self.adam(at, self.gradient(at) * shrink, ADAM_RATE * factor * (SMALL_FACTOR if small else 1))
        return norm

    def adam(self, at, grad, rate):
        first, second = self.shared.momentum[at], self.shared.square[at]
        first.mul_(BETAS[0]).add_(grad, alpha=1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
        steps = self.updates
        size = rate / (1 - BETAS[0] ** steps)
        denominator = (second / (1 - BETAS[1] ** steps)).sqrt_().add_(EPSILON)
        self.shared.parameters[at].mul_(1 - rate * ADAM_DECAY).addcdiv_(first, denominator, value=-size)

    def state(self):
        """By name, so that a file does not depend on the order of the parameters."""
        return {"updates": self.updates,
                "momentum": {n: self.shared.momentum[at].clone() for n, at in self.names.items()},
                "square": {n: self.shared.square[at].clone() for n, at in self.names.items()}}

    def load(self, state):
        self.updates = state["updates"]
        for n, at in self.names.items():
            self.shared.momentum[at] = state["momentum"][n]
            self.shared.square[at] = state["square"][n]
