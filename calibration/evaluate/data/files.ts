/** Annotation files: JSON, JSON lines and pickles, checked before anything is made of them. */
import { readFile, stat } from 'node:fs/promises';
import type { z } from 'zod';
import { SdkError } from '#sdk/core/errors.js';
import type { CallOptions } from '#sdk/core/types.js';
import { dataError } from './items.js';
import { parsePickle } from './pickle.js';

/** VQA v2's annotations of training are the largest that are known, 171 MB. */
const MOST_BYTES = 400 * 2 ** 20;

/** A JSON document; of a name that ends in `.p`, `.pkl` or `.pickle` what Python pickled. */
export async function readDocument(file: string, options: CallOptions = {}): Promise<unknown> {
  const bytes = await readBytes(file, options);
  if (/\.(p|pkl|pickle)$/i.test(file)) return parsePickle(bytes, file);
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw dataError(file, `it is no JSON (${(cause as Error).message})`);
  }
}

/** A list in JSON, or JSON lines; a document that is neither is a list of itself. */
export async function readRecords(file: string, options: CallOptions = {}): Promise<unknown[]> {
  const text = new TextDecoder().decode(await readBytes(file, options));
  const whole = tryParse(text);
  if (whole !== undefined) return Array.isArray(whole) ? whole : [whole];
  const records: unknown[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    try {
      records.push(JSON.parse(line));
    } catch (cause) {
      throw dataError(file, `line ${i + 1} is no JSON (${(cause as Error).message})`, { line: i + 1 });
    }
  }
  return records;
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function readBytes(file: string, { signal }: CallOptions): Promise<Uint8Array> {
  const entry = await stat(file).catch(() => undefined);
  if (entry === undefined || !entry.isFile())
    throw new SdkError('ERR_CONFIG_INVALID', `Expected an annotation file but there is none at ${file}.`);
  if (entry.size > MOST_BYTES) {
    const message = `Expected an annotation file of at most ${MOST_BYTES} bytes but ${file} has ${entry.size}.`;
    throw new SdkError('ERR_LIMIT_EXCEEDED', message, { details: { sizeBytes: entry.size, most: MOST_BYTES } });
  }
  return await readFile(file, { signal });
}

/** Checks a document; what is of another data set is named as that. @param expected the layout, in words */
export function checkLayout<S extends z.ZodType>(
  file: string,
  expected: string,
  schema: S,
  value: unknown,
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const other = layoutOf(value);
  if (other !== undefined && other !== expected) throw layoutError(file, expected, value);
  const [issue] = result.error.issues;
  const place = issue!.path.length === 0 ? '' : ` at ${issue!.path.join('.')}`;
  throw dataError(file, `expected ${expected} but${place}: ${issue!.message}`);
}

function layoutError(file: string, expected: string, value: unknown): SdkError {
  const other = layoutOf(value);
  const found = other === undefined ? 'something unknown' : other;
  return dataError(file, `expected ${expected} but found ${found}`, { expected, ...(other ? { found: other } : {}) });
}

/** Names of layouts, as messages say them. */
export const LAYOUTS = {
  vqaQuestions: 'the questions of VQA',
  vqaAnnotations: 'the annotations of VQA',
  textVqa: 'TextVQA',
  docVqa: 'DocVQA',
  chartQa: 'ChartQA',
  pope: 'POPE',
  captions: 'COCO captions',
  instances: 'COCO instances',
  refs: 'references of RefCOCO',
  grefs: 'references of gRefCOCO',
  mmmu: 'MMMU',
  scienceQa: 'ScienceQA',
} as const;

/** By the fields that only one data set has. */
function layoutOf(value: unknown): string | undefined {
  const has = (record: unknown, ...names: string[]): boolean =>
    typeof record === 'object' && record !== null && names.every((name) => Object.hasOwn(record, name));
  const first = (list: unknown): unknown => (Array.isArray(list) ? list[0] : undefined);
  if (Array.isArray(value)) {
    const [record] = value as unknown[];
    if (value.length === 1 && !Array.isArray(record) && layoutOf(record) !== undefined) return layoutOf(record);
    if (has(record, 'imgname', 'query', 'label')) return LAYOUTS.chartQa;
    if (has(record, 'text', 'label', 'image')) return LAYOUTS.pope;
    if (has(record, 'options', 'answer')) return LAYOUTS.mmmu;
    if (has(record, 'no_target')) return LAYOUTS.grefs;
    if (has(record, 'sentences', 'ann_id'))
      return Array.isArray((record as { ann_id: unknown }).ann_id) ? LAYOUTS.grefs : LAYOUTS.refs;
    return undefined;
  }
  const { questions, annotations, data } = (value ?? {}) as Record<string, unknown>;
  if (has(first(questions), 'question_id', 'image_id')) return LAYOUTS.vqaQuestions;
  if (has(first(annotations), 'answers', 'question_id')) return LAYOUTS.vqaAnnotations;
  if (has(first(annotations), 'caption')) return LAYOUTS.captions;
  if (has(first(annotations), 'bbox')) return LAYOUTS.instances;
  if (has(first(data), 'questionId')) return LAYOUTS.docVqa;
  if (has(first(data), 'question_id', 'image_id')) return LAYOUTS.textVqa;
  if (has(value, 'text', 'label', 'image')) return LAYOUTS.pope;
  if (has(value, 'options', 'answer')) return LAYOUTS.mmmu;
  if (typeof value === 'object' && value !== null && has(Object.values(value)[0], 'choices', 'question'))
    return LAYOUTS.scienceQa;
  return undefined;
}
