"""Muon for the layer matrices, AdamW for the rest."""

import torch


class Muon:
    """Momentum whose update is orthogonalised by five Newton-Schulz steps; equal shapes are handled together."""

    def __init__(self, parameters, rate=0.02, decay=0.01, momentum=0.95):
        self.rate, self.decay, self.momentum = rate, decay, momentum
        self.groups = {}
        for p in parameters:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.buffers = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, factor):
        rate = self.rate * factor
        for shape, parameters in self.groups.items():
            grad = torch.stack([p.grad for p in parameters])
            buffer = self.buffers[shape].mul_(self.momentum).add_(grad, alpha=1 - self.momentum)
            update = orthogonal(grad.mul_(1 - self.momentum).add_(buffer, alpha=self.momentum))
            scale = max(1, shape[0] / shape[1]) ** 0.5
            for p, u in zip(parameters, update):
                p.mul_(1 - rate * self.decay).add_(u, alpha=-rate * scale)


def orthogonal(x):
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).bfloat16().contiguous()
    for _ in range(5):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.bmm(torch.bmm(gram, gram).mul_(2.0315).add_(gram, alpha=-4.7750), x).add_(x, alpha=3.4445)
    return (x.transpose(1, 2) if tall else x).float()


class Optimiser:
    def __init__(self, model, heads, adam_rate=3e-3):
        matrices, small, rest = [], [], list(heads.parameters())
        for name, p in model.named_parameters():
            if p.ndim == 2 and ("layers" in name or name.startswith("multi_modal")):
                matrices.append(p)
            elif "gate" in name and p.numel() == 1 or "q_norm" in name or "k_norm" in name:
                small.append(p)
            else:
                rest.append(p)
        self.muon, self.clipped = Muon(matrices), rest + small
        self.adam = torch.optim.AdamW([{"params": rest, "base": adam_rate}, {"params": small, "base": 2 * adam_rate}],
                                      lr=adam_rate, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.005)
        self.parameters = matrices + rest + small

    def step(self, factor):
        for group in self.adam.param_groups:
            group["lr"] = group["base"] * factor
        for p in self.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        norm = torch.nn.utils.clip_grad_norm_(self.clipped, 2.0)
        self.adam.step()
        self.muon.step(factor)
        for p in self.parameters:
            p.grad = None
        return float(norm)

    def state(self):
        return {"adam": self.adam.state_dict(), "muon": self.muon.buffers}

    def load(self, state):
        self.adam.load_state_dict(state["adam"])
        self.muon.buffers = state["muon"]
