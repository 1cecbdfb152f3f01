/**
 * Finds objects with a label and a box in what a model wrote: alone, in a list, inside other text, cut off in the
 * middle. What does not parse is not an object; nothing here throws.
 */

/** How a model writes boxes; the checkpoint's manifest (`scenebus.json`, `boxes`) declares it. */
export interface BoxConvention {
  readonly format: 'json';
  readonly labelKey: string;
  readonly boxKey: string;
  readonly order: 'xyxy';
  /** Coordinates are numbers 0 … scale. */
  readonly scale: number;
  /** Both coordinates are fractions of the longer side (`longer-side`), or x of the width and y of the height (`axis`). */
  readonly relativeTo: 'longer-side' | 'axis';
  /** q means (q + 0.5) / scale (`centre`) or q / scale (`edge`). */
  readonly bin: 'centre' | 'edge';
  /**
   * Whether answers to the model's own prompts for boxes can be nothing else (compact JSON, label before box). Default
   * true; false for a model that writes other text around its boxes, or spaces in them.
   */
  readonly enforced?: boolean | undefined;
}

export interface WrittenBox {
  readonly label: string;
  /** As written: `[x1, y1, x2, y2]` on the model's scale. */
  readonly numbers: readonly [number, number, number, number];
  /** Offsets of the object's braces in the text, end exclusive. */
  readonly start: number;
  readonly end: number;
}

// A model in a loop writes without end: what one answer can hold is bounded.
export const MAX_OBJECTS = 256;
const MAX_OBJECT_CHARACTERS = 1_024;
export const MAX_LABEL_CHARACTERS = 200;

/** In order of appearance. An object whose box is null (the thing is absent) is left out, and so are repetitions. */
export function readWrittenBoxes(text: string, convention: Pick<BoxConvention, 'labelKey' | 'boxKey'>): WrittenBox[] {
  const found = new Map<string, WrittenBox>();
  for (let start = text.indexOf('{'); start !== -1 && found.size < MAX_OBJECTS; start = text.indexOf('{', start + 1)) {
    const end = closingBrace(text, start);
    if (end === undefined) continue;
    const box = boxOf(text.slice(start, end), convention);
    if (box === undefined) continue; // the brace may enclose others: look inside
    const key = JSON.stringify([box.label, box.numbers]);
    if (!found.has(key)) found.set(key, { ...box, start, end });
    start = end - 1;
  }
  return [...found.values()];
}

/** Index behind the brace that closes the one at `start`; braces in strings do not count. */
function closingBrace(text: string, start: number): number | undefined {
  const limit = Math.min(text.length, start + MAX_OBJECT_CHARACTERS);
  let depth = 0;
  let inString = false;
  for (let i = start; i < limit; i++) {
    const character = text[i];
    if (inString) {
      if (character === '\\') i++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{') depth++;
    else if (character === '}' && --depth === 0) return i + 1;
  }
  return undefined;
}

function boxOf(
  json: string,
  { labelKey, boxKey }: Pick<BoxConvention, 'labelKey' | 'boxKey'>,
): Pick<WrittenBox, 'label' | 'numbers'> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  const fields = value as Record<string, unknown>; // starts with a brace and parses: an object
  const written = Object.hasOwn(fields, labelKey) ? fields[labelKey] : undefined;
  const numbers = Object.hasOwn(fields, boxKey) ? fields[boxKey] : undefined;
  if (typeof written !== 'string' || !isFourNumbers(numbers)) return undefined;
  const label = written.trim();
  return label === '' || label.length > MAX_LABEL_CHARACTERS ? undefined : { label, numbers };
}

function isFourNumbers(value: unknown): value is [number, number, number, number] {
  return (
    Array.isArray(value) &&
    value.length === 4 &&
    value.every((each) => typeof each === 'number' && Number.isFinite(each))
  );
}
