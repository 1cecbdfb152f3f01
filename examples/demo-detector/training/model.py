"""The detector: convolutions only, a box for every cell of 8 x 8 pixels; and what a cell should say."""

import torch
from torch import nn
from torch.nn import functional as F

from scenes import CLASSES, COLOURS, SIDE

STRIDE = 8
GRID = SIDE // STRIDE
WIDTHS = (16, 28, 56)
MEAN, STD = 0.5, 0.25


def block(inputs, outputs, stride=1, dilation=1, groups=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, groups, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    def __init__(self, width, dilation):
        super().__init__()
        self.body = nn.Sequential(block(width, width, 1, dilation), nn.ReLU(), block(width, width))

    def forward(self, x):
        return F.relu(x + self.body(x))


class Detector(nn.Module):
    """float32 [n, 3, SIDE, SIDE], normalised -> per cell: thing, class, colour, distances to the four edges."""

    def __init__(self):
        super().__init__()
        a, b, c = WIDTHS
        self.stem = nn.Sequential(block(3, a, 2), nn.ReLU(), block(a, b, 2), nn.ReLU(), block(b, b), nn.ReLU(),
                                  block(b, c, 2), nn.ReLU())
        self.trunk = nn.Sequential(Residual(c, 2), Residual(c, 4), Residual(c, 2))
        self.head = nn.Conv2d(c, 1 + len(CLASSES) + len(COLOURS) + 4, 1)
        nn.init.constant_(self.head.bias, 0)
        with torch.no_grad():
            self.head.bias[0] = -4.0

    def forward(self, pixels):
        out = self.head(self.trunk(self.stem(pixels)))
        thing, classes, colours, edges = out.split([1, len(CLASSES), len(COLOURS), 4], dim=1)
        return thing[:, 0], classes, colours, F.softplus(edges)


def centres(device=None):
    """Pixels of the middle of every cell: x [1, GRID], y [GRID, 1]."""
    line = (torch.arange(GRID, device=device, dtype=torch.float32) + 0.5) * STRIDE
    return line[None, :], line[:, None]


def targets(tables):
    """What cells should say: heat [n, GRID, GRID] 0..1, and for each cell the thing that it is nearest to the middle of."""
    x, y = centres()
    x1, y1, x2, y2 = [tables[:, :, k, None, None] for k in (2, 3, 4, 5)]
    there = (tables[:, :, 0] >= 0)[:, :, None, None]
    # Spread by the thing's own shape, no narrower than a cell.
    sx, sy = ((x2 - x1) * 0.14).clamp(min=STRIDE * 0.45), ((y2 - y1) * 0.14).clamp(min=STRIDE * 0.45)
    heat = torch.exp(-(((x - (x1 + x2) / 2) / sx) ** 2 + ((y - (y1 + y2) / 2) / sy) ** 2) / 2) * there
    # The cell that holds the middle is a full hit.
    hit = (((x - (x1 + x2) / 2).abs() <= STRIDE / 2) & ((y - (y1 + y2) / 2).abs() <= STRIDE / 2)) & there
    heat = torch.where(hit, torch.ones_like(heat), heat)
    best, owner = heat.max(dim=1)
    return best, owner


def decode(edges):
    """Boxes [n, GRID, GRID, 4] as x1, y1, x2, y2 in pixels."""
    x, y = centres(edges.device)
    left, top, right, bottom = (edges * STRIDE).unbind(dim=1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)


def iou(a, b):
    w = (torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    h = (torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])).clamp(min=0)
    area = lambda box: (box[..., 2] - box[..., 0]).clamp(min=0) * (box[..., 3] - box[..., 1]).clamp(min=0)  # noqa: E731
    both = w * h
    return both / (area(a) + area(b) - both + 1e-6)


def loss(outputs, tables):
    thing, classes, colours, edges = outputs
    heat, owner = targets(tables)
    # Zhou et al., Objects as Points (2019): focal loss over heat maps.
    p = torch.sigmoid(thing).clamp(1e-5, 1 - 1e-5)
    hit = heat >= 0.999
    focal = torch.where(hit, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p ** 2 * (1 - p).log())
    things = (tables[:, :, 0] >= 0).sum().clamp(min=1)
    wanted = tables.gather(1, owner.flatten(1)[..., None].expand(-1, -1, 6)).view(*owner.shape, 6)
    weight = heat * (heat > 0.3)
    total = weight.sum().clamp(min=1e-6)
    label = lambda logits, k: (F.cross_entropy(logits, wanted[..., k].long().clamp(min=0), reduction="none") * weight).sum() / total  # noqa: E731
    boxes = decode(edges)
    overlap = iou(boxes, wanted[..., 2:])
    off = F.smooth_l1_loss(boxes, wanted[..., 2:], reduction="none", beta=2.0).mean(dim=-1) / STRIDE
    box = ((1 - overlap + off) * weight).sum() / total
    return focal.sum() / things + label(classes, 0) + label(colours, 1) + 2 * box


class Exported(nn.Module):
    """As DETR-like detectors answer: logits [n, cells, labels], boxes [n, cells, 4] as centre and size, 0..1 of SIDE."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, pixels):
        thing, classes, colours, edges = self.detector(pixels)
        pair = F.log_softmax(colours, 1)[:, :, None] + F.log_softmax(classes, 1)[:, None]       # colour-major
        log_p = F.logsigmoid(thing)[:, None] + pair.flatten(1, 2)
        log_p = log_p.flatten(2).transpose(1, 2).clamp(min=-30.0, max=-1e-6)
        logits = log_p - torch.log(1 - torch.exp(log_p))
        x, y = centres()
        left, top, right, bottom = (edges * STRIDE).unbind(dim=1)
        boxes = torch.stack([x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom], dim=-1) / SIDE
        return logits, boxes.flatten(1, 2)
