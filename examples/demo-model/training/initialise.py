"""Starting values: DCT filters for the patches, sin-cos positions over the whole canvas, ordered number tokens."""

import math

import torch

from processor import aspect_ratios


def dct_filters(count, patch):
    """Luma and chroma DCT basis, lowest frequencies first, roughly whitened for natural pictures: [count, patch, patch, 3]."""
    i = torch.arange(patch).float()
    basis = [torch.cos(math.pi * (i + 0.5) * k / patch) * math.sqrt((1 if k == 0 else 2) / patch) for k in range(patch)]
    planes = torch.tensor([[1, 1, 1.0], [1, -1, 0], [0.5, 0.5, -1]])
    planes = planes / planes.norm(dim=1, keepdim=True)
    order = sorted((math.sqrt(u * u + v * v + (0 if c == 0 else 3)), c, u, v)
                   for u in range(patch) for v in range(patch) for c in range(3))[:count]
    return torch.stack([(basis[u][:, None] * basis[v][None])[..., None] * planes[c] * 0.08
                        * (1 if u + v == 0 else 1 + 0.7 * math.hypot(u, v)) for _, c, u, v in order])


def positions(x, y, size):
    """2-D sin-cos of coordinates in units of a 16-patch canvas: [..., size]."""
    n = size // 4
    f = math.pi * torch.exp(torch.linspace(0, math.log(16), n))
    return torch.cat([fn(t[..., None] * f) for t in (x, y) for fn in (torch.sin, torch.cos)], -1)


def initialise_vision(vision):
    c, grid = vision.c, vision.grid
    size = c["hidden_size"]
    vision.patch_embedding.weight.data.copy_(dct_filters(size, vision.patch).permute(0, 3, 1, 2).reshape(size, -1))
    spread = torch.linalg.qr(torch.randn(size, size))[0]      # over all channels
    y, x = torch.meshgrid(torch.arange(grid) / 16, torch.arange(grid) / 16, indexing="ij")
    table = vision.gated_positional_embedding
    table.gate.data.fill_(0.8)                                # tanh 0.66: the place on the canvas counts more
    table.embedding.data[1:] = 0.5 * positions(x.flatten(), y.flatten(), size) @ spread
    tiles = table.tile_embedding.weight.data.zero_().view(-1, vision.tiles, vision.patches, size)
    step = grid / 16
    for a, (rows, cols) in enumerate(aspect_ratios(vision.tiles), 1):
        for slot in range(rows * cols):
            place = positions(x.flatten() + slot % cols * step, y.flatten() + slot // cols * step, size)
            tiles[a, slot, 1:] = 0.9 * place @ spread
            tiles[a, slot, 0] = 0.3 * torch.randn(size)
    for layer in [*vision.transformer.layers, *vision.global_transformer.layers]:
        layer.self_attn.o_proj.weight.data.mul_(0.5)
        layer.mlp.fc2.weight.data.mul_(0.5)
    keep_unused_slots_zero(vision)


def keep_unused_slots_zero(vision):
    """Aspect id 0 and the unused slots of the tables stay zero, as in published checkpoints. Call before training."""
    used = torch.zeros(len(aspect_ratios(vision.tiles)) + 1, vision.tiles)
    for a, (rows, cols) in enumerate(aspect_ratios(vision.tiles), 1):
        used[a, :rows * cols] = 1
    for table in (vision.gated_positional_embedding.tile_embedding, vision.pre_tile_positional_embedding.embedding,
                  vision.post_tile_positional_embedding.embedding):
        weight = table.weight
        mask = used.repeat_interleave(weight.shape[1] // vision.tiles, 1)
        weight.data.mul_(mask)
        weight.register_hook(lambda grad, mask=mask: grad * mask)


def initialise(model, numbers):
    """`numbers` are the token ids of 0 to 99."""
    initialise_vision(model.vision_model)
    text = model.language_model
    size = model.config["text_config"]["hidden_size"]
    embeddings = text.model.embed_tokens.weight.data.normal_(std=0.5)
    text.lm_head.weight.data.normal_(std=0.02)
    f = math.pi * torch.exp(torch.linspace(0, math.log(50), 16))
    t = torch.arange(100)[:, None] / 100 * f
    ordered = torch.cat([torch.sin(t), torch.cos(t)], 1) @ torch.randn(32, size) / math.sqrt(16)
    embeddings[numbers] = 0.5 * ordered
    text.lm_head.weight.data[numbers] = 0.05 * ordered
    for layer in text.model.layers:
        layer.mlp.down_proj.weight.data.mul_(0.5)
        if layer.cross:
            layer.cross_attn.o_proj.weight.data.mul_(0.5)
            layer.cross_attn.q_norm.weight.data.fill_(1.5)
            layer.cross_attn_attn_gate.data.fill_(0.8)
            layer.cross_attn_mlp_gate.data.fill_(0.8)
        else:
            layer.self_attn.o_proj.weight.data.mul_(0.5)
