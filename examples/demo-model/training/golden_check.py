"""Checks the model class against reference logits of the same architecture.

    golden_check.py GOLDEN_FOLDER      (with tiny-a/ and cases-tiny-a/)
"""

import json
import sys
from pathlib import Path

import torch

from model import Mllama, causal_mask
from weights import load_published, read_safetensors


def check(model, case):
    data = read_safetensors(case)
    ids = data["input_ids"].long()
    pixels = data["pixel_values"][:, 0].permute(0, 1, 3, 4, 2).contiguous()
    counts = data["aspect_ratio_mask"][:, 0].sum(-1)
    with torch.no_grad():
        states = model.project(pixels, data["aspect_ratio_ids"][:, 0].long(), counts)
        position = int((ids[0] == model.config["image_token_index"]).nonzero()[0])
        sees = (torch.arange(ids.shape[1]) >= position)[None]
        h, _ = model.text(ids, torch.arange(ids.shape[1])[None], causal_mask(ids.shape[1]), sees, model.picture(states), counts)
        logits = model.logits(h)
    wanted = data.get("alt_zeroed_rows.prefill_logits", data["prefill_logits"])
    reference = data["cross_attention_states"].view_as(states)
    return (states - reference).abs().max().item(), (logits - wanted).abs().max().item()


def main():
    folder = Path(sys.argv[1])
    model = Mllama(json.loads((folder / "tiny-a/config.json").read_text()), compute=torch.float32)
    load_published(model, read_safetensors(folder / "tiny-a/model.safetensors"))
    worst = 0.0
    for name in ("img1_chat", "img1_first", "img_last", "long", "masked_rows"):
        differences = check(model, folder / f"cases-tiny-a/case_{name}.safetensors")
        print(f"{name:12s} projected states {differences[0]:.2e}   logits {differences[1]:.2e}")
        worst = max(worst, *differences)
    print("agrees" if worst < 1e-4 else "DIFFERS")
    sys.exit(worst >= 1e-4)


if __name__ == "__main__":
    main()
