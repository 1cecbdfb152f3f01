/** From a detector's tensors to boxes. */
import { SdkError } from '../core/errors.js';
import type { Box } from '../core/types.js';
import { intersectionOverUnion } from '../geometry/box.js';
import type { DetectorManifest } from './manifest.js';

/** A tensor of the detector's: float32. */
export interface OutputTensor {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** A box in fractions of the input. */
export interface Detection {
  readonly label: string;
  readonly score: number;
  readonly box: Box;
}

/** Read from one tensor or two: what each query says. */
interface Queries {
  readonly count: number;
  /** Of a query and a label, 0–1. */
  readonly score: (query: number, label: number) => number;
  readonly box: (query: number, k: number) => number;
}

/**
 * Boxes of at least `minScore`, the surest first, without those that overlap a surer one.
 * @throws SdkError ERR_MODEL_INVALID a tensor is not there or has another shape than the manifest says;
 * ERR_ENGINE_FAILED a score or the box of a sure query is no number
 */
export function decodeDetections(
  outputs: Readonly<Record<string, OutputTensor | undefined>>,
  manifest: DetectorManifest,
): Detection[] {
  const { labels, minScore, maxBoxes, suppression, input, output } = manifest;
  const queries = output.layout === 'detr' ? detr(outputs, manifest, output) : yolo(outputs, manifest, output);
  const [xUnit, yUnit] = output.unit === 'fraction' ? [1, 1] : [input.width, input.height];
  const found: Detection[] = [];
  for (let query = 0; query < queries.count; query++) {
    let best = 0;
    for (let label = 0; label < labels.length; label++) {
      const score = queries.score(query, label);
      if (!(score >= 0 && score <= 1)) throw noNumber(`score ${score}`, query, manifest);
      if (score > queries.score(query, best)) best = label;
    }
    const score = queries.score(query, best);
    if (score < minScore) continue;
    const raw = [0, 1, 2, 3].map((k) => queries.box(query, k));
    if (!raw.every(Number.isFinite)) throw noNumber(`box [${raw.join(', ')}]`, query, manifest);
    const [a, b, c, d] = [raw[0]! / xUnit, raw[1]! / yUnit, raw[2]! / xUnit, raw[3]! / yUnit];
    const box =
      output.box === 'xyxy'
        ? { x1: a, y1: b, x2: c, y2: d }
        : { x1: a - c / 2, y1: b - d / 2, x2: a + c / 2, y2: b + d / 2 };
    found.push({ label: labels[best]!, score, box });
  }
  found.sort((one, other) => other.score - one.score);
  const kept: Detection[] = [];
  for (const each of found) {
    if (kept.length === maxBoxes) break;
    const isTaken = kept.some(
      (other) =>
        (suppression.across === 'all' || other.label === each.label) &&
        intersectionOverUnion(other.box, each.box) > suppression.iou,
    );
    if (!isTaken) kept.push(each);
  }
  return kept;
}

function detr(
  outputs: Readonly<Record<string, OutputTensor | undefined>>,
  manifest: DetectorManifest,
  { scores, boxes, activation }: DetectorManifest['output'] & { readonly layout: 'detr' },
): Queries {
  const labels = manifest.labels.length;
  const values = activation === 'softmax' ? labels + 1 : labels;
  const said = tensorOf(outputs, scores, [1, undefined, values], manifest);
  const count = said.dims[1]!;
  const places = tensorOf(outputs, boxes, [1, count, 4], manifest);
  const at = (query: number, label: number) => said.data[query * values + label]!;
  const sums = activation === 'softmax' ? Array.from({ length: count }, (_, query) => sumOfExp(at, query, values)) : [];
  const score = {
    none: at,
    sigmoid: (query: number, label: number) => sigmoid(at(query, label)),
    softmax: (query: number, label: number) => Math.exp(at(query, label) - sums[query]!),
  }[activation];
  return { count, score, box: (query, k) => places.data[query * 4 + k]! };
}

function yolo(
  outputs: Readonly<Record<string, OutputTensor | undefined>>,
  manifest: DetectorManifest,
  { tensor, order, objectness, activation }: DetectorManifest['output'] & { readonly layout: 'yolo' },
): Queries {
  const first = objectness ? 5 : 4;
  const values = first + manifest.labels.length;
  const { dims, data } = tensorOf(
    outputs,
    tensor,
    order === 'rows' ? [1, undefined, values] : [1, values, undefined],
    manifest,
  );
  const count = dims[order === 'rows' ? 1 : 2]!;
  const at = (query: number, k: number) => data[order === 'rows' ? query * values + k : k * count + query]!;
  const active = activation === 'sigmoid' ? sigmoid : (value: number) => value;
  const thing = (query: number) => (objectness ? active(at(query, 4)) : 1);
  return { count, score: (query, label) => thing(query) * active(at(query, first + label)), box: at };
}

function sumOfExp(at: (query: number, label: number) => number, query: number, values: number): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < values; k++) most = Math.max(most, at(query, k));
  let sum = 0;
  for (let k = 0; k < values; k++) sum += Math.exp(at(query, k) - most);
  return most + Math.log(sum);
}

function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value));
}

function tensorOf(
  outputs: Readonly<Record<string, OutputTensor | undefined>>,
  name: string,
  shape: readonly (number | undefined)[],
  { labels }: DetectorManifest,
): OutputTensor {
  const tensor = outputs[name];
  const expected = `[${shape.map((size) => size ?? '…').join(', ')}]`;
  if (tensor === undefined) {
    const names = Object.keys(outputs).join(', ');
    throw new SdkError(
      'ERR_MODEL_INVALID',
      `Expected an output "${name}" of the detector, but it has ${names}. Correct output in detector.json.`,
      { details: { expected: name, outputs: Object.keys(outputs) } },
    );
  }
  const { dims, data } = tensor;
  const fits = dims.length === shape.length && dims.every((size, i) => shape[i] === undefined || shape[i] === size);
  if (fits && data instanceof Float32Array && data.length === dims.reduce((a, b) => a * b, 1)) return tensor;
  throw new SdkError(
    'ERR_MODEL_INVALID',
    `Expected the output "${name}" of the detector as float32 ${expected} for ${labels.length} labels, but it is ${data?.constructor.name} [${dims.join(', ')}]. Correct labels and output in detector.json.`,
    { details: { tensor: name, expected, dims } },
  );
}

function noNumber(what: string, query: number, { model }: DetectorManifest): SdkError {
  return new SdkError(
    'ERR_ENGINE_FAILED',
    `Expected numbers of the detector, scores from 0 to 1, but ${model} gave ${what} for query ${query}. If it does so for every picture, activation in detector.json is wrong or the file is damaged.`,
    { details: { query } },
  );
}
