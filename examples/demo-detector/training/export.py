"""Writes the trained detector as an ONNX model: convolutions with their normalisation folded in, one output of logits and
one of boxes, as detectors of the DETR family have them.

    export.py RUN/state.pt [--out FOLDER]
"""

import argparse
import json
from pathlib import Path

import torch

from model import Detector, Exported
from scenes import CLASSES, COLOURS, SIDE

HERE = Path(__file__).resolve().parent


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("state", type=Path)
    p.add_argument("--out", type=Path, default=HERE.parent)
    args = p.parse_args()
    detector = Detector()
    detector.load_state_dict(torch.load(args.state)["detector"])
    model = Exported(detector).eval()
    file = args.out / "model.onnx"
    torch.onnx.export(model, torch.zeros(1, 3, SIDE, SIDE), str(file), opset_version=13, do_constant_folding=True,
                      input_names=["pixels"], output_names=["logits", "boxes"])
    print(f"{file}: {file.stat().st_size} bytes")
    print("labels:", json.dumps([f"{colour} {cls}" for colour in COLOURS for cls in CLASSES]))


if __name__ == "__main__":
    main()
