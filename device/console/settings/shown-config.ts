/** A configuration as people may see it in a browser: no secret, and no path of a key. */
import { redact } from 'scenebus/service';
import { z } from 'zod';
import { type DiffLine, diffLines } from '../../config/editing/diff.js';
import type { PropertyPath } from '../../config/editing/edit.js';
import { shownAddress } from '../../config/editing/web-addresses.js';
import { isOpenSomewhere, whyClosed } from '../../config/editing/web-policy.js';
import { deviceConfigSchema } from '../../config/schema.js';

const HIDDEN = '(set)';
/** Keys, certificates, passwords: that they are set is all that a page needs to know. */
const FILE_KEY = /File$/;
const FILE_LINE = /^(.*?\b\w*File"?\s*:\s*)(?!\s*[{[]).*$/;
const INLINE_FILE = /(\b\w*File"?\s*:\s*)("[^"]*"|'[^']*'|[^,}\]\s]+)/g;
const URL_WORD = /[a-z]+:\/\/[^\s"'`,]+/gi;

export function shownValues(value: unknown, key = ''): unknown {
  if (typeof value === 'string') {
    if (FILE_KEY.test(key)) return HIDDEN;
    return redact(key === 'address' || key === 'url' ? shownAddress(value) : value);
  }
  if (Array.isArray(value)) return value.map((item) => shownValues(item));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, shownValues(item, name)]));
}

/** One line of the file. */
export function shownLine(line: string): string {
  const withoutFiles = /[{[]/.test(line)
    ? line.replace(INLINE_FILE, `$1${HIDDEN}`)
    : line.replace(FILE_LINE, `$1${HIDDEN}`);
  return redact(withoutFiles.replace(URL_WORD, shownAddress));
}

export function shownDiff(before: string, after: string): DiffLine[] {
  return diffLines(before, after).map(({ kind, text }) => ({ kind, text: shownLine(text) }));
}

type Schema = Record<string, unknown>;
let known: Schema | undefined;

/** The JSON Schema of the file, telling a form what may be changed in it and what not, with the reason. */
export function webSchema(): Schema {
  known ??= annotated(z.toJSONSchema(deviceConfigSchema, { io: 'input', unrepresentable: 'any' }) as Schema, []);
  return known;
}

function annotated(schema: Schema, path: PropertyPath): Schema {
  const { properties, items } = schema as { properties?: Record<string, Schema>; items?: Schema };
  const reason = path.length === 0 || isOpenSomewhere(path) ? undefined : (whyClosed(path) ?? undefined);
  return {
    ...schema,
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([key, each]) => [key, annotated(each, [...path, key])]),
      ),
    }),
    ...(items && { items: annotated(items, [...path, '*']) }),
    ...(reason === undefined ? {} : { readOnly: true, 'x-reason': reason }),
  };
}

/** Files of keys, certificates and passwords: also where they lie is nobody's business. */
export function secretPaths(value: unknown, key = ''): string[] {
  if (typeof value === 'string') return FILE_KEY.test(key) && value !== '' ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => secretPaths(item, name));
}
