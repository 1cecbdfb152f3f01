import { describe, expect, test } from 'vitest';
import { decodeDetections, type OutputTensor } from '#sdk/detector/decode.js';
import { type DetectorManifest, detectorSchema } from '#sdk/detector/manifest.js';

const base = {
  labels: ['cup', 'key'],
  input: { tensor: 'pixels', width: 200, height: 100 },
  selfTest: { picture: 'a.png', objects: [{ label: 'cup', box: [0, 0, 1, 1] }] },
};
const tensor = (dims: number[], values: number[]): OutputTensor => ({ dims, data: Float32Array.from(values) });
const logit = (p: number) => Math.log(p / (1 - p));
function detr(
  values: Partial<Record<'activation' | 'box' | 'unit', string>> = {},
  more: object = {},
): DetectorManifest {
  const output = { layout: 'detr', scores: 'logits', boxes: 'boxes', unit: 'fraction', ...values };
  return detectorSchema.parse({ ...base, ...more, output });
}
function yolo(values: object, more: object = {}): DetectorManifest {
  return detectorSchema.parse({
    ...base,
    ...more,
    output: { layout: 'yolo', tensor: 'out', unit: 'pixels', ...values },
  });
}
const rounded = (found: ReturnType<typeof decodeDetections>) =>
  found.map(({ label, score, box }) => [
    label,
    Math.round(score * 1e4) / 1e4,
    ...[box.x1, box.y1, box.x2, box.y2].map((v) => Math.round(v * 1e4) / 1e4),
  ]);

describe('DETR-like outputs', () => {
  const boxes = tensor([1, 3, 4], [0.5, 0.5, 0.2, 0.4, 0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 0.1, 0.1]);

  test('sigmoid: the surest label of each query, the surest query first, none below the least score', () => {
    const logits = tensor([1, 3, 2], [0.7, 0.1, 0.2, 0.9, 0.1, 0.2].map(logit));
    expect(rounded(decodeDetections({ logits, boxes }, detr()))).toEqual([
      ['key', 0.9, 0.1, 0.1, 0.3, 0.3],
      ['cup', 0.7, 0.4, 0.3, 0.6, 0.7],
    ]);
  });

  test('softmax: the last value is no object', () => {
    const logits = tensor([1, 3, 3], [0, 0, 5, 3, 0, 0, 0, 0, 0]);
    const found = decodeDetections({ logits, boxes }, detr({ activation: 'softmax' }));
    expect(rounded(found)).toEqual([
      ['cup', 0.9094, 0.1, 0.1, 0.3, 0.3],
      ['cup', 0.3333, 0.75, 0.75, 0.85, 0.85],
    ]);
  });

  test('corners in pixels', () => {
    const logits = tensor([1, 1, 2], [0.8, 0.1]);
    const corners = tensor([1, 1, 4], [20, 10, 100, 50]);
    const manifest = detr({ activation: 'none', box: 'xyxy', unit: 'pixels' });
    expect(rounded(decodeDetections({ logits, boxes: corners }, manifest))).toEqual([['cup', 0.8, 0.1, 0.1, 0.5, 0.5]]);
  });
});

describe('YOLO-like outputs', () => {
  test('columns without objectness: boxes in pixels of the input', () => {
    // values 4 + 2 by two anchors
    const out = tensor([1, 6, 2], [100, 20, 50, 20, 40, 20, 40, 20, 0.9, 0.1, 0.2, 0.8]);
    expect(rounded(decodeDetections({ out }, yolo({ order: 'columns' })))).toEqual([
      ['cup', 0.9, 0.4, 0.3, 0.6, 0.7],
      ['key', 0.8, 0.05, 0.1, 0.15, 0.3],
    ]);
  });

  test('rows with objectness, which the label’s score is multiplied by', () => {
    const out = tensor([1, 1, 7], [100, 50, 40, 40, logit(0.5), logit(0.1), logit(0.9)]);
    const manifest = yolo({ order: 'rows', objectness: true, activation: 'sigmoid' });
    expect(rounded(decodeDetections({ out }, manifest))).toEqual([['key', 0.45, 0.4, 0.3, 0.6, 0.7]]);
  });
});

describe('boxes that overlap', () => {
  // The second overlaps the first by 0.6, the third is a key at the first's place.
  const logits = tensor([1, 3, 2], [0.9, 0, 0.8, 0, 0, 0.7]);
  const boxes = tensor([1, 3, 4], [0, 0, 0.4, 0.4, 0.1, 0, 0.5, 0.4, 0, 0, 0.4, 0.4]);
  const scores = (suppression: object, more = {}) =>
    decodeDetections({ logits, boxes }, detr({ activation: 'none', box: 'xyxy' }, { suppression, ...more })).map(
      ({ score }) => Math.round(score * 10) / 10,
    );

  test.each([
    [{}, [0.9, 0.7]],
    [{ across: 'all' }, [0.9]],
    [{ iou: 0.7 }, [0.9, 0.8, 0.7]],
    [{ iou: 1, across: 'all' }, [0.9, 0.8, 0.7]],
  ])('suppression %o leaves %o', (suppression, expected) => expect(scores(suppression)).toEqual(expected));

  test('at most so many', () => expect(scores({ iou: 1 }, { maxBoxes: 2 })).toEqual([0.9, 0.8]));
});

describe('what is no answer of a detector', () => {
  const boxes = tensor([1, 1, 4], [0.5, 0.5, 0.2, 0.2]);
  test.each([
    ['no such output', { scores: boxes, boxes }, 'ERR_MODEL_INVALID', /"logits".*it has scores, boxes/],
    [
      'labels that are too few',
      { logits: tensor([1, 1, 3], [1, 1, 1]), boxes },
      'ERR_MODEL_INVALID',
      /\[1, …, 2\].*\[1, 1, 3\]/,
    ],
    ['another rank', { logits: tensor([1, 2], [1, 1]), boxes }, 'ERR_MODEL_INVALID', /\[1, 2\]/],
    [
      'boxes of other queries',
      { logits: tensor([1, 2, 2], [1, 1, 1, 1]), boxes },
      'ERR_MODEL_INVALID',
      /"boxes".*\[1, 2, 4\]/,
    ],
    [
      'float16, read as it lies',
      { logits: { dims: [1, 1, 2], data: new Uint16Array(2) as never }, boxes },
      'ERR_MODEL_INVALID',
      /float32.*Uint16Array/,
    ],
    [
      'NaN in a score',
      { logits: tensor([1, 1, 2], [Number.NaN, 1]), boxes },
      'ERR_ENGINE_FAILED',
      /score NaN for query 0/,
    ],
    [
      'NaN in a box',
      { logits: tensor([1, 1, 2], [3, 1]), boxes: tensor([1, 1, 4], [0.5, Number.NaN, 0.2, 0.2]) },
      'ERR_ENGINE_FAILED',
      /box \[0\.5, NaN/,
    ],
  ])('%s is refused', (_name, outputs, code, message) => {
    const decode = () => decodeDetections(outputs as never, detr());
    expect(decode).toThrowError(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });

  test('scores beyond 1 say that the activation is wrong', () => {
    const logits = tensor([1, 1, 2], [3, 1]);
    expect(() => decodeDetections({ logits, boxes }, detr({ activation: 'none' }))).toThrowError(/activation/);
  });

  test('NaN in the box of a query that is not sure does not matter', () => {
    const outputs = { logits: tensor([1, 1, 2], [-5, -5]), boxes: tensor([1, 1, 4], [Number.NaN, 0, 0, 0]) };
    expect(decodeDetections(outputs, detr())).toEqual([]);
  });
});
