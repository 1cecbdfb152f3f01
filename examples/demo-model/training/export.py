"""Writes the checkpoint folder from what training saved.

    export.py STAGE [--out FOLDER]

A stage is a file that training saved, or an exported folder.

Everything a loader of published Mllama folders reads: bf16 weights under the published names,
config, tokenizer, chat template, processor and generation settings, and scenebus.json with the
conventions of boxes and prompts.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from configuration import BOS, EOS, PAD, generation_config, model_config, processor_config
from model import Mllama
from tokenizer import IMAGE, Tokenizer
from weights import load_published, mean_weights, published, read_safetensors, write_safetensors

HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE.parent / "checkpoint"
CONVENTIONS = {
    "schema": 1,
    "name": "scenebus-demo",
    "boxes": {"format": "json", "labelKey": "label", "boxKey": "box", "order": "xyxy", "scale": 100,
              "relativeTo": "longer-side", "bin": "centre"},
    "prompts": {"describe": "Describe the scene.", "list": "List all objects with their boxes.",
                "locate": "Where is the {label}?", "verify": "Is there a {label}?"},
}
# `attention` and `scores` of scenebus.json are measured on the weights, so that an export begins without them.
MEASURE = "Now measure what belongs to these weights: scenebus calibrate-grounding {out}, then scenebus calibrate-scores {out}"


def tokenizer_config(tokenizer):
    name = {i: t for t, i in tokenizer.special.items()}
    added = {str(i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                      "special": True} for i, t in name.items()}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added, "bos_token": name[BOS],
            "eos_token": name[EOS[2]], "pad_token": name[PAD], "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"], "model_max_length": 2048,
            "chat_template": (HERE / "chat_template.jinja").read_text()}


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def export(model, out, tokenizer):
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.bfloat16() for name, p in published(model).items()}
    write_safetensors(out / "model.safetensors", tensors)
    write_json(out / "config.json", model.config)
    write_json(out / "generation_config.json", generation_config())
    write_json(out / "preprocessor_config.json", processor_config())
    write_json(out / "tokenizer_config.json", tokenizer_config(tokenizer))
    write_json(out / "special_tokens_map.json", {"bos_token": tokenizer.tokens[BOS], "eos_token": tokenizer.tokens[EOS[2]],
                                                 "pad_token": tokenizer.tokens[PAD], "additional_special_tokens": [IMAGE]})
    write_json(out / "scenebus.json", CONVENTIONS)
    shutil.copyfile(HERE / "chat_template.jinja", out / "chat_template.jinja")
    return sum(t.numel() for t in tensors.values())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("stage", type=Path)
    p.add_argument("--out", type=Path, default=CHECKPOINT)
    args = p.parse_args()
    tokenizer = Tokenizer.load(CHECKPOINT / "tokenizer.json")
    model = Mllama(model_config())
    model.load_state_dict(mean_weights([args.stage]))
    count = export(model, args.out, tokenizer)
    again = Mllama(model.config)
    load_published(again, read_safetensors(args.out / "model.safetensors"))     # names and shapes are complete
    if args.out != CHECKPOINT:
        shutil.copyfile(CHECKPOINT / "tokenizer.json", args.out / "tokenizer.json")
    print(f"{count} parameters -> {args.out}")
    print(MEASURE.format(out=args.out))


if __name__ == "__main__":
    main()
