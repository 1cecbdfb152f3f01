"""The int4 and int8 weights of the SDK, as functions on float weights: what quantisation leaves of them.

int4: symmetric, groups of 128 along the input, scale = largest magnitude / 7.5 rounded to bf16.
int8 (lm_head): symmetric per output row, scale = largest magnitude / 127.
Gradients pass straight through.
"""

import torch

GROUP = 128


def int4(weight):
    w = weight.detach().bfloat16().float()
    grouped = w.view(w.shape[0], -1, GROUP)
    scale = (grouped.abs().amax(-1, keepdim=True) / 7.5).bfloat16().float().clamp(min=1e-20)
    rounded = (grouped / scale).round().clamp(-8, 7) * scale
    return weight + (rounded.view_as(w) - weight.detach())


def int8(weight):
    w = weight.detach().bfloat16().float()
    scale = (w.abs().amax(1, keepdim=True) / 127).clamp(min=1e-20)
    return weight + ((w / scale).round().clamp(-127, 127) * scale - weight.detach())


def quantise_text(model, on=True):
    """Sets every text linear (self and cross layers) to int4 and lm_head to int8, or back."""
    for name, module in model.language_model.named_modules():
        if hasattr(module, "quantise"):
            module.quantise = None if not on else int8 if name == "lm_head" else int4
