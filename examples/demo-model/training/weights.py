"""Reading and writing safetensors files and moving weights between them and the model."""

import json
import struct

import torch

from configuration import model_config
from model import Mllama

_TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I32": torch.int32, "I64": torch.int64, "U8": torch.uint8}
_NAMES = {v: k for k, v in _TYPES.items()}


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    body = bytearray(data[8 + size:])
    out = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        dtype = _TYPES[entry["dtype"]]
        flat = torch.frombuffer(body, dtype=dtype, offset=start, count=(end - start) // torch.empty(0, dtype=dtype).element_size())
        out[name] = flat.view(entry["shape"]).clone()
    return out


def write_safetensors(path, tensors, metadata=None):
    header, chunks, at = {"__metadata__": metadata or {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        raw = (t.view(torch.int16) if t.dtype == torch.bfloat16 else t).numpy().tobytes()
        header[name] = {"dtype": _NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        chunks.append(raw)
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def published(model):
    """The model's weights under the published names, float32."""
    out = {}
    for name, p in model.state_dict().items():
        p = p.detach()
        if name == "vision_model.patch_embedding.weight":
            patch = model.vision_model.patch
            p = p.view(p.shape[0], 3, patch, patch)
        out[name] = p
    return out


def load_published(model, tensors):
    state = {}
    for name, p in model.state_dict().items():
        state[name] = tensors[name].float().view(p.shape)
    unexpected = set(tensors) - set(state)
    assert not unexpected, unexpected
    model.load_state_dict(state)


def mean_weights(stages, shares=None):
    """State of the model whose weights are a mean of several, by shares that add up to 1 or equally.

    A stage is a file that training saved or an exported folder; each is rounded to bf16 as exported."""
    total = {}
    for stage, share in zip(stages, shares or [1 / len(stages)] * len(stages), strict=True):
        if stage.is_dir():
            model = Mllama(model_config())
            load_published(model, read_safetensors(stage / "model.safetensors"))
            state = model.state_dict()
        else:
            state = torch.load(stage)["model"]
        for name, p in state.items():
            total[name] = total.get(name, 0) + p.bfloat16().float() * share
    return total
