"""The Mllama architecture, read from a published-style config.json.

Parameters carry the published tensor names. Weights are held in float32; matrix products run in
`model.compute` (bfloat16 for training, float32 for checks), the residual streams in float32.
Taps are the inputs of their layers and text rows in front of the image get nothing from
cross-attention, as in the original implementation of this architecture.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from processor import MEAN, STD

NEGATIVE = -1e30


class Attention(torch.autograd.Function):
    """softmax(q k^T + mask) v with an own backward pass: q is scaled already, leading axis is batch x kv heads.

    `mask(scores, image)` changes the scores of one image in place. Images go one by one, so that the scores stay in
    the cache: more than twice as fast as all at once."""

    @staticmethod
    def forward(ctx, q, k, v, mask, heads):
        p = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
        out = torch.empty_like(q)
        for i in range(q.shape[0] // heads):
            part = slice(i * heads, (i + 1) * heads)
            scores = torch.bmm(q[part], k[part].transpose(1, 2))
            if mask is not None:
                mask(scores, i)
            torch._softmax(scores, -1, False, out=p[part])
            torch.bmm(p[part], v[part], out=out[part])
        ctx.save_for_backward(q, k, v, p)
        ctx.heads = heads
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, p = ctx.saved_tensors
        grad = grad.contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for i in range(q.shape[0] // ctx.heads):
            part = slice(i * ctx.heads, (i + 1) * ctx.heads)
            torch.bmm(p[part].transpose(1, 2), grad[part], out=dv[part])
            ds = torch._softmax_backward_data(torch.bmm(grad[part], v[part].transpose(1, 2)), p[part], -1, p.dtype)
            torch.bmm(ds, k[part], out=dq[part])
            torch.bmm(ds.transpose(1, 2), q[part], out=dk[part])
        return dq, dk, dv, None, None


class RMSNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        r = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        n = x * r
        ctx.save_for_backward(n, r, weight)
        return n * weight

    @staticmethod
    def backward(ctx, grad):
        n, r, weight = ctx.saved_tensors
        gn = grad * n
        dw = gn.flatten(0, -2).sum(0)
        return torch.addcmul(grad * weight, n, (gn @ weight / n.shape[-1]).unsqueeze(-1), value=-1).mul_(r), dw, None


class Linear(nn.Module):
    """A linear layer whose product runs in the type of its input. `quantise` is set for int4-aware training."""

    def __init__(self, inputs, outputs, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.quantise = None

    def effective(self):
        return self.weight if self.quantise is None else self.quantise(self.weight)

    def forward(self, x):
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.effective().to(x.dtype), bias)


class LayerNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size)), eps

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return RMSNormFunction.apply(x.float(), self.weight, self.eps)


class VisionAttention(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Linear(size, size) for _ in range(4))

    def forward(self, x, mask):
        b, n, size = x.shape
        e = size // self.heads
        w = torch.cat([self.q_proj.weight * e ** -0.5, self.k_proj.weight, self.v_proj.weight]).to(x.dtype)
        q, k, v = F.linear(x, w).view(b, n, 3, self.heads, e).permute(2, 0, 3, 1, 4).contiguous().view(3, -1, n, e).unbind(0)
        out = Attention.apply(q, k, v, mask, self.heads)
        return self.o_proj(out.view(b, self.heads, n, e).transpose(1, 2).reshape(b, n, size))


class VisionMLP(nn.Module):
    def __init__(self, size, inner):
        super().__init__()
        self.fc1, self.fc2 = Linear(size, inner, True), Linear(inner, size, True)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class VisionLayer(nn.Module):
    def __init__(self, c, gated):
        super().__init__()
        size = c["hidden_size"]
        self.self_attn = VisionAttention(size, c["attention_heads"])
        self.mlp = VisionMLP(size, c["intermediate_size"])
        self.input_layernorm, self.post_attention_layernorm = (LayerNorm(size, c["norm_eps"]) for _ in range(2))
        if gated:
            self.gate_attn, self.gate_ffn = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.gated = gated

    def forward(self, x, mask, dtype):
        a = self.self_attn(self.input_layernorm(x).to(dtype), mask)
        x = x + (a * self.gate_attn.tanh() if self.gated else a)
        a = self.mlp(self.post_attention_layernorm(x).to(dtype))
        return x + (a * self.gate_ffn.tanh() if self.gated else a)


class Layers(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)


class TileEmbedding(nn.Module):
    """[aspect id, slot] -> one vector for all patches of the tile."""

    def __init__(self, ids, tiles, size):
        super().__init__()
        self.embedding = nn.Embedding(ids, tiles * size)
        self.gate = nn.Parameter(torch.ones(1) * 0.5)
        self.tiles, self.size = tiles, size
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, aspect):
        return self.embedding(aspect).view(-1, self.tiles, 1, self.size) * self.gate.tanh()


class PositionalEmbedding(nn.Module):
    def __init__(self, ids, tiles, patches, size):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(patches, size) * 0.1)
        self.tile_embedding = nn.Embedding(ids, tiles * patches * size)
        self.gate = nn.Parameter(torch.ones(1) * 0.5)
        self.shape = (-1, tiles, patches, size)

    def forward(self, x, aspect):
        g = self.gate.tanh()
        return x + (1 - g) * self.embedding + g * self.tile_embedding(aspect).view(self.shape)


class VisionModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        size, self.tiles, self.patch = c["hidden_size"], c["max_num_tiles"], c["patch_size"]
        self.grid = c["image_size"] // self.patch
        self.patches = self.grid ** 2 + 1
        self.pads = -self.patches % 8
        ids = len(c["supported_aspect_ratios"]) + 1
        self.class_embedding = nn.Parameter(torch.randn(size) * 0.3)
        self.patch_embedding = Linear(3 * self.patch ** 2, size)
        self.pre_tile_positional_embedding = TileEmbedding(ids, self.tiles, size)
        self.post_tile_positional_embedding = TileEmbedding(ids, self.tiles, size)
        self.gated_positional_embedding = PositionalEmbedding(ids, self.tiles, self.patches, size)
        self.layernorm_pre, self.layernorm_post = LayerNorm(size, c["norm_eps"]), LayerNorm(size, c["norm_eps"])
        self.transformer = Layers([VisionLayer(c, False) for _ in range(c["num_hidden_layers"])])
        self.global_transformer = Layers([VisionLayer(c, True) for _ in range(c["num_global_layers"])])
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(STD), persistent=False)

    def normalise(self, tiles, counts):
        """uint8 [B, T, side, side, 3] -> pixel values; slots beyond the used tiles are exactly 0."""
        used = torch.arange(self.tiles)[None, :] < counts[:, None]
        return (tiles.float() * (1 / 255) - self.mean) / self.std * used[:, :, None, None, None]

    def mask(self, counts):
        """Pad rows do not see each other. The equal pad rows of a tile are one row here, counted `pads` times."""
        real = self.tiles * self.patches
        bias = math.log(self.pads) if self.pads else 0.0
        used = (counts * self.patches).tolist()

        def apply(scores, image):
            if self.pads:
                scores[:, :, real:] += bias
                scores[:, real:, real:] = NEGATIVE
            if used[image] < real:
                scores[:, used[image]:, used[image]:] = NEGATIVE
        return apply

    def forward(self, pixels, aspect, counts, dtype):
        """pixels [B, T, side, side, 3] (normalised) -> features [B, T * patches, taps and output interleaved]."""
        b, g, p = pixels.shape[0], self.grid, self.patch
        x = pixels.view(b, self.tiles, g, p, g, p, 3).permute(0, 1, 2, 4, 6, 3, 5).reshape(b, self.tiles, g * g, -1)
        x = self.patch_embedding(x.to(dtype)).float() + self.pre_tile_positional_embedding(aspect)
        x = torch.cat([self.class_embedding.expand(b, self.tiles, 1, -1), x], 2)
        x = self.layernorm_pre(self.gated_positional_embedding(x, aspect))
        n = self.tiles * self.patches
        x = x.view(b, n, -1)
        if self.pads:
            x = F.pad(x, (0, 0, 0, self.tiles))
        mask, taps = self.mask(counts), []
        for i, layer in enumerate(self.transformer.layers):
            if i in self.c["intermediate_layers_indices"]:
                taps.append(x[:, :n])
            x = layer(x, mask, dtype)
        x = self.layernorm_post(x)
        post = self.post_tile_positional_embedding(aspect)
        spread = post.expand(-1, -1, self.patches, -1).reshape(b, n, -1)
        x = x + (torch.cat([spread, post.squeeze(2)], 1) if self.pads else spread)
        for layer in self.global_transformer.layers:
            x = layer(x, mask, dtype)
        return torch.cat([x[:, :n], torch.stack(taps, -1).flatten(2)], -1).to(dtype)


def rope_frequencies(c):
    e = c["hidden_size"] // c["num_attention_heads"]
    f = c["rope_theta"] ** (-torch.arange(0, e, 2).double() / e)
    s = c.get("rope_scaling")
    if s and s["rope_type"] == "llama3":
        old = s["original_max_position_embeddings"]
        wave = 2 * math.pi / f
        smooth = (old / wave - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
        mixed = (1 - smooth) * f / s["factor"] + smooth * f
        f = torch.where(wave < old / s["high_freq_factor"], f, torch.where(wave > old / s["low_freq_factor"], f / s["factor"], mixed))
    return f.float()


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class TextAttention(nn.Module):
    def __init__(self, c, cross):
        super().__init__()
        size = c["hidden_size"]
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        self.size = size // self.heads
        self.q_proj, self.o_proj = Linear(size, size), Linear(size, size)
        self.k_proj, self.v_proj = Linear(size, self.kv_heads * self.size), Linear(size, self.kv_heads * self.size)
        if cross:
            self.q_norm, self.k_norm = RMSNorm(self.size, c["rms_norm_eps"]), RMSNorm(self.size, c["rms_norm_eps"])

    def picture(self, states):
        """Keys and values of the picture, [B * kv heads, N, size]."""
        b, n, _ = states.shape
        w = torch.cat([self.k_proj.effective(), self.v_proj.effective()]).to(states.dtype)
        k, v = F.linear(states, w).view(b, n, 2, self.kv_heads, self.size).permute(2, 0, 3, 1, 4).unbind(0)
        k = self.k_norm(k).to(states.dtype)
        return k.reshape(b * self.kv_heads, n, self.size), v.reshape(b * self.kv_heads, n, self.size)

    def grouped(self, q):
        """[B, L, heads, size] -> [B * kv heads, group * L, size]."""
        b, n = q.shape[:2]
        return q.view(b, n, self.kv_heads, -1, self.size).permute(0, 2, 3, 1, 4).reshape(b * self.kv_heads, -1, self.size)

    def finish(self, out, b, n):
        return self.o_proj(out.view(b, self.kv_heads, -1, n, self.size).permute(0, 3, 1, 2, 4).reshape(b, n, -1))

    def look(self, x, picture, mask):
        """Cross-attention; also returns the scaled queries, which the guide loss reads."""
        b, n, _ = x.shape
        q = self.grouped((self.q_norm(self.q_proj(x).view(b, n, self.heads, self.size)) * self.size ** -0.5).to(x.dtype))
        return self.finish(Attention.apply(q, *picture, mask, self.kv_heads), b, n), q

    def forward(self, x, cos, sin, mask, cache=None):
        b, n, _ = x.shape
        w = torch.cat([self.q_proj.effective() * self.size ** -0.5, self.k_proj.effective(), self.v_proj.effective()]).to(x.dtype)
        q, k, v = F.linear(x, w).view(b, n, -1, self.size).split([self.heads, self.kv_heads, self.kv_heads], 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (t.transpose(1, 2).reshape(b * self.kv_heads, n, self.size) for t in (k, v))
        if cache is not None:
            if self in cache:
                k, v = (torch.cat(both, 1) for both in zip(cache[self], (k, v)))
            cache[self] = k, v
        return self.finish(Attention.apply(self.grouped(q), k, v, mask, self.kv_heads), b, n)


class TextMLP(nn.Module):
    def __init__(self, size, inner):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = Linear(size, inner), Linear(size, inner), Linear(inner, size)

    def forward(self, x):
        w = torch.cat([self.gate_proj.effective(), self.up_proj.effective()]).to(x.dtype)
        gate, up = F.linear(x, w).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class TextLayer(nn.Module):
    def __init__(self, c, cross):
        super().__init__()
        self.cross = cross
        if cross:
            self.cross_attn = TextAttention(c, True)
            self.cross_attn_attn_gate, self.cross_attn_mlp_gate = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        else:
            self.self_attn = TextAttention(c, False)
        self.mlp = TextMLP(c["hidden_size"], c["intermediate_size"])
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])


class TextModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"] + 8, c["hidden_size"])
        self.layers = nn.ModuleList([TextLayer(c, i in c["cross_attention_layers"]) for i in range(c["num_hidden_layers"])])
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])


class LanguageModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.model = TextModel(c)
        self.lm_head = Linear(c["hidden_size"], c["vocab_size"])


class Mllama(nn.Module):
    def __init__(self, config, compute=torch.bfloat16):
        super().__init__()
        self.config, self.compute = config, compute
        text, vision = config["text_config"], config["vision_config"]
        self.vision_model = VisionModel(vision)
        self.multi_modal_projector = Linear(vision["vision_output_dim"], text["hidden_size"], True)
        self.language_model = LanguageModel(text)
        self.register_buffer("frequencies", rope_frequencies(text), persistent=False)

    def features(self, tiles, aspect, counts):
        """uint8 tiles -> projected states [B, T * patches, hidden]."""
        return self.project(self.vision_model.normalise(tiles, counts), aspect, counts)

    def project(self, pixels, aspect, counts):
        return self.multi_modal_projector(self.vision_model(pixels, aspect, counts, self.compute))

    def cross_layers(self):
        return {i: layer for i, layer in enumerate(self.language_model.model.layers) if layer.cross}

    def picture(self, states):
        return {i: layer.cross_attn.picture(states) for i, layer in self.cross_layers().items()}

    def picture_mask(self, counts):
        """Hides the tokens of unused slots; None when there are none."""
        used = (counts * self.vision_model.patches).tolist()

        def apply(scores, image):
            scores[:, :, used[image]:] = NEGATIVE
        return apply

    def text(self, ids, positions, mask, sees, picture, counts, cache=None):
        """ids, positions [B, L]; mask additive [B, L, L] or None; sees [B, L] (1 from the image token on).

        `cache` (a dict) keeps keys and values from call to call. Returns the normed hidden states and the
        queries of every cross layer."""
        c, dtype = self.config["text_config"], self.compute
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        model = self.language_model.model
        h = model.embed_tokens(ids).float()
        angle = positions[..., None, None].float() * self.frequencies
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
        b, length = ids.shape
        spread = None if mask is None else mask.to(dtype).repeat(1, group, 1)

        def causal(scores, image):
            if spread is not None:
                scores.add_(spread[image])
        hide, full, queries = self.picture_mask(counts), sees.unsqueeze(-1).float(), {}
        for i, layer in enumerate(model.layers):
            u = layer.input_layernorm(h).to(dtype)
            if layer.cross:
                if picture is None:
                    continue
                a, queries[i] = layer.cross_attn.look(u, picture[i], hide)
                h = h + a * (full * layer.cross_attn_attn_gate.tanh())
                a = layer.mlp(layer.post_attention_layernorm(h).to(dtype))
                h = h + a * (full * layer.cross_attn_mlp_gate.tanh())
            else:
                h = h + layer.self_attn(u, cos, sin, causal, cache)
                h = h + layer.mlp(layer.post_attention_layernorm(h).to(dtype))
        return model.norm(h), queries

    def logits(self, h):
        return self.language_model.lm_head(h.to(self.compute)).float()


def causal_mask(length, batch=1):
    return torch.full((length, length), NEGATIVE).triu(1).expand(batch, -1, -1)
