/** What a form needs to know of a JSON Schema, as the device sends it. */

export interface Schema {
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly (string | number)[];
  readonly const?: string | number;
  readonly anyOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  /** It may not be changed on the page. */
  readonly readOnly?: boolean;
  readonly 'x-reason'?: string;
}

export type Path = readonly (string | number)[];
export type Kind = 'section' | 'choice' | 'switch' | 'number' | 'text' | 'lines' | 'list' | 'json';

/** Longer texts get room. */
export const LONG_TEXT = 500;

export function kindOf(schema: Schema): Kind {
  if (schema.properties !== undefined) return 'section';
  if (choicesOf(schema) !== undefined) return 'choice';
  if (schema.type === 'boolean') return 'switch';
  if (schema.type === 'number' || schema.type === 'integer') return 'number';
  if (schema.type === 'string') return 'text';
  if (schema.type === 'array' && schema.items?.type === 'string') return 'lines';
  if (schema.type === 'array' && schema.items?.properties !== undefined) return 'list';
  return 'json';
}

export function choicesOf({ enum: values, anyOf }: Schema): readonly (string | number)[] | undefined {
  if (values !== undefined) return values;
  const constants = anyOf?.map((each) => each.const);
  return constants?.every((each) => each !== undefined) ? constants : undefined;
}

/** `maxSilenceSeconds` where a schema has no title. */
export function titleOf(name: string | number, schema: Schema): string {
  if (schema.title !== undefined) return schema.title;
  const words = String(name)
    .replace(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`)
    .trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export const keyOf = (path: Path): string => path.join('.');

/** What is wrong with a value, as far as the page can tell; the device looks again. undefined: nothing. */
export function faultOf(schema: Schema, value: unknown): string | undefined {
  if (typeof value === 'number') {
    const { minimum, maximum, exclusiveMinimum, type } = schema;
    if (Number.isNaN(value)) return 'Expected a number.';
    if (type === 'integer' && !Number.isInteger(value)) return 'Expected a whole number.';
    if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) return `Expected more than ${exclusiveMinimum}.`;
    if ((minimum !== undefined && value < minimum) || (maximum !== undefined && value > maximum))
      return `Expected ${rangeOf(schema)}.`;
  }
  if (typeof value === 'string') {
    const { pattern, minLength = 0, maxLength = Number.POSITIVE_INFINITY } = schema;
    if (value.trim().length < minLength) return 'Expected some text.';
    if (value.length > maxLength) return `Expected at most ${maxLength} characters.`;
    if (pattern !== undefined && !new RegExp(pattern, 'u').test(value)) return 'This is not written as expected.';
  }
  if (Array.isArray(value) && schema.items !== undefined) {
    if (value.length > (schema.maxItems ?? Number.POSITIVE_INFINITY)) return `Expected at most ${schema.maxItems}.`;
    for (const item of value) {
      const fault = faultOf(schema.items, item);
      if (fault !== undefined) return fault;
    }
  }
  return undefined;
}

export function rangeOf({ minimum, maximum }: Schema): string | undefined {
  if (minimum === undefined && maximum === undefined) return undefined;
  if (maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER) return `${minimum} or more`;
  return minimum === undefined ? `${maximum} or less` : `${minimum.toLocaleString()} to ${maximum.toLocaleString()}`;
}

export function valueAt(value: unknown, path: Path): unknown {
  let found = value;
  for (const step of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step)) return undefined;
    found = (found as Record<string | number, unknown>)[step];
  }
  return found;
}
