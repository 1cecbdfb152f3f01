/** What a model said in JSON, in words. */
import type { GroundedObject } from '../core/types.js';
import type { BoxConvention } from './box-reader.js';

type Keys = Pick<BoxConvention, 'labelKey' | 'boxKey'>;

/**
 * A sentence for people where the whole answer is objects in the model's own convention; undefined where the text is
 * words already.
 * @param objects what was found in the text
 *
 * @example
 * sentenceOf('{"label":"red cup","box":[1,2,3,4]}', objects, convention); // The red cup is at the top left.
 */
export function sentenceOf(
  text: string,
  objects: readonly GroundedObject[],
  convention: Keys | undefined,
): string | undefined {
  const value = convention === undefined ? undefined : jsonOf(text);
  if (convention === undefined || value === undefined) return undefined;
  const written = Array.isArray(value) ? value : [value];
  if (!written.every((each) => isObject(each, convention))) return undefined;
  const [only] = objects;
  if (!Array.isArray(value)) {
    return only === undefined ? `There is no ${labelOf(value, convention)}.` : `The ${only.label} is ${placeOf(only)}.`;
  }
  if (only === undefined) return 'There is nothing of the kind.';
  const things = objects.map(
    (object) => `${/^[aeiou]/i.test(object.label) ? 'an' : 'a'} ${object.label} ${placeOf(object)}`,
  );
  const listed = things.length === 1 ? things[0]! : `${things.slice(0, -1).join(', ')} and ${things.at(-1)}`;
  return `There is ${listed}.`;
}

function jsonOf(text: string): unknown {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown, { labelKey, boxKey }: Keys): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const isNamed = Object.hasOwn(value, labelKey) && labelOf(value, { labelKey }) !== '';
  return isNamed && Object.hasOwn(value, boxKey);
}

function labelOf(value: unknown, { labelKey }: Pick<Keys, 'labelKey'>): string {
  const label = (value as Record<string, unknown>)[labelKey];
  return typeof label === 'string' ? label.trim() : '';
}

/** By thirds of the picture. */
function placeOf({ box }: GroundedObject): string {
  const third = (from: number, to: number) => Math.min(2, Math.floor(((from + to) / 2) * 3));
  const column = third(box.x1, box.x2);
  const row = third(box.y1, box.y2);
  if (row === 1) return ['on the left', 'in the middle', 'on the right'][column]!;
  return `at the ${row === 0 ? 'top' : 'bottom'}${[' left', '', ' right'][column]}`;
}
