"""Draws the learning curve from training logs.

    curve.py --out curve.png LOG.jsonl...       (the log.jsonl files of one training, in order)
"""

import argparse
import json

from PIL import Image, ImageDraw, ImageFont

SERIES = [("patchAcc", "class of a patch", (205, 60, 50)), ("charAcc", "character of a patch", (230, 140, 30)),
          ("a.exists", "is there", (60, 140, 70)), ("a.countOf", "count of one kind", (50, 90, 200)),
          ("a.colour", "colour", (140, 70, 170)), ("a.signExact", "characters of a sign's answer", (90, 90, 90))]
LEFT, TOP, WIDTH, HEIGHT = 60, 30, 780, 360


def smooth(values, window=4):
    return [sum(values[max(0, i - window):i + 1]) / len(values[max(0, i - window):i + 1]) for i in range(len(values))]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("logs", nargs="+")
    p.add_argument("--out", required=True)
    args = p.parse_args()
    by_images = {}
    for log in args.logs:
        lines = [json.loads(line) for line in open(log)]
        # A later part replaces what an earlier one did after the point it started from.
        by_images = {k: v for k, v in by_images.items() if k < lines[0]["images"]}
        by_images.update({line["images"]: line for line in lines})
    images = sorted(by_images)
    last = images[-1]
    picture = Image.new("RGB", (LEFT + WIDTH + 40, TOP + HEIGHT + 110), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    x_of, y_of = lambda n: LEFT + n / last * WIDTH, lambda v: TOP + (1 - v) * HEIGHT
    for k in range(0, 11, 2):
        draw.line((LEFT, y_of(k / 10), LEFT + WIDTH, y_of(k / 10)), fill=(225, 225, 225))
        draw.text((LEFT - 28, y_of(k / 10) - 5), f"{k / 10:.1f}", fill="black", font=font)
    for n in range(0, last + 1, 20_000):
        draw.line((x_of(n), TOP, x_of(n), TOP + HEIGHT), fill=(235, 235, 235))
        draw.text((x_of(n) - 10, TOP + HEIGHT + 6), f"{n // 1000}k", fill="black", font=font)
    draw.text((LEFT, 8), "Training accuracy, means over a minute and smoothed, against pictures seen; grey: learning rate", fill="black", font=font)
    draw.line([(x_of(n), y_of(by_images[n]["rate"])) for n in images], fill=(190, 190, 190), width=2)
    for row, (key, name, colour) in enumerate(SERIES):
        points = [(n, v) for n in images if (v := by_images[n].get(key)) is not None and v == v]      # v != v: not a number
        if len(points) > 1:
            values = smooth([v for _, v in points])
            draw.line([(x_of(n), y_of(v)) for (n, _), v in zip(points, values)], fill=colour, width=2)
        x, y = LEFT + row % 3 * 270, TOP + HEIGHT + 34 + row // 3 * 24
        draw.line((x, y + 5, x + 24, y + 5), fill=colour, width=3)
        draw.text((x + 30, y), name, fill="black", font=font)
    picture.save(args.out, optimize=True)


if __name__ == "__main__":
    main()
