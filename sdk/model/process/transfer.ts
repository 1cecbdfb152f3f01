/**
 * Arguments of a call as they cross to the model process: plain data through the channel, bytes through shared memory.
 * What can do neither is refused here, with its place.
 */
import { SdkError } from '../../core/errors.js';
import type { ByteRange } from './shared-frames.js';

/** Bytes that were taken out of the arguments, and where they belong: `[0, 'data']` is `arguments[0].data`. */
export interface SharedBytes extends ByteRange {
  readonly path: readonly (string | number)[];
}

export interface Transfer {
  readonly values: readonly unknown[];
  readonly shared: readonly SharedBytes[];
}

/** What a model reads of a picture. */
const IMAGE_FIELDS = ['id', 'width', 'height', 'format', 'data'] as const;
/** Deeper than any schema or message that people write. */
const MAX_DEPTH = 64;

/**
 * @param share puts bytes where the child can read them; the same bytes are shared once
 * @throws SdkError ERR_ARGUMENT_INVALID naming what cannot cross; what `share` throws
 */
export function takeApart(
  values: readonly unknown[],
  names: readonly string[],
  share: (bytes: Uint8Array) => ByteRange,
): Transfer {
  const shared: SharedBytes[] = [];
  const known = new Map<Uint8Array, ByteRange>();

  const visit = (value: unknown, path: readonly (string | number)[]): unknown => {
    if (value instanceof Uint8Array) {
      if (value.byteLength === 0) return value;
      const range = known.get(value) ?? share(value);
      known.set(value, range);
      shared.push({ ...range, path });
      return undefined;
    }
    if (typeof value === 'function' || typeof value === 'symbol') throw cannotCross(nameOf(path, names), value);
    if (typeof value !== 'object' || value === null) return value;
    if (path.length > MAX_DEPTH) throw tooDeep(nameOf(path.slice(0, 4), names));
    if (Array.isArray(value)) return value.map((each, i) => visit(each, [...path, i]));
    if (isImage(value)) {
      return Object.fromEntries(IMAGE_FIELDS.map((field) => [field, visit(value[field], [...path, field])]));
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== null && Object.getPrototypeOf(prototype) !== null) throw cannotCross(nameOf(path, names), value);
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, visit(each, [...path, key])]));
  };

  return { values: values.map((value, i) => visit(value, [i])), shared };
}

/** Puts the bytes back where they belong. */
export function putTogether({ values, shared }: Transfer, open: (range: ByteRange) => Uint8Array): unknown[] {
  const root: unknown[] = [...values];
  for (const { path, ...range } of shared) {
    let owner: Record<string | number, unknown> = root as unknown as Record<string | number, unknown>;
    for (const step of path.slice(0, -1)) owner = owner[step] as Record<string | number, unknown>;
    owner[path.at(-1)!] = open(range);
  }
  return root;
}

/** A frame of any make, class instances too. */
function isImage(value: object): value is Record<(typeof IMAGE_FIELDS)[number], unknown> {
  return 'data' in value && value.data instanceof Uint8Array && 'width' in value && 'height' in value;
}

function nameOf([first, ...rest]: readonly (string | number)[], names: readonly string[]): string {
  const name = names[first as number] ?? `argument ${first}`;
  return rest.reduce<string>((text, step) => (typeof step === 'number' ? `${text}[${step}]` : `${text}.${step}`), name);
}

function cannotCross(name: string, value: unknown): SdkError {
  const kind =
    typeof value === 'object' ? `an instance of ${value?.constructor?.name ?? 'a class'}` : `a ${typeof value}`;
  return new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected plain data for ${name} but received ${kind}, which cannot cross to the model process. Pass plain data, or load the model with isolation: 'none'.`,
    { details: { option: name } },
  );
}

function tooDeep(name: string): SdkError {
  return new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected ${name}… to be nested at most ${MAX_DEPTH} deep, or no circle.`,
    {
      details: { option: name },
    },
  );
}
