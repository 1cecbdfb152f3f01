/**
 * Sets of JSON values, one kind beside the other: what a schema means once its keywords are taken together. Parts of
 * arrays and objects are places, which are looked into only when they are needed: schemas may refer to themselves.
 */
import {
  acceptsText,
  complementDfa,
  type Dfa,
  dfaOfLength,
  dfaOfWords,
  EMPTY_DFA,
  intersectDfa,
  isEmptyDfa,
  type LengthUnit,
  subtractDfa,
  UNIVERSAL_DFA,
  uniteDfa,
  wordsOf,
} from '../automata/dfa.js';
import { ANY_NUMBER, isEmptyRange, type NumberRange } from '../automata/numbers.js';
import { tooComplex } from '../errors.js';

/** All schemas that a value must meet at once; interned, so that equal ones are the same object. */
export interface Place {
  readonly id: number;
}

/** Texts of an automaton that have `min` to `max` characters. */
export interface StringType {
  readonly dfa: Dfa;
  readonly min: number;
  readonly max: number;
}

export interface ArrayType {
  readonly prefix: readonly Place[];
  /** Of the items after the prefix. */
  readonly items: Place;
  readonly min: number;
  readonly max: number;
}

export interface ObjectType {
  /** In the order in which they are written. */
  readonly properties: ReadonlyMap<string, { readonly place: Place; readonly required: boolean }>;
  /** Other properties, by name; names of two classes have nothing in common. */
  readonly classes: readonly { readonly names: Dfa; readonly place: Place }[];
  readonly min: number;
  readonly max: number;
}

export interface ValueType {
  readonly null: boolean;
  readonly true: boolean;
  readonly false: boolean;
  readonly numbers: readonly NumberRange[];
  readonly strings: StringType;
  /** Alternatives. */
  readonly arrays: readonly ArrayType[];
  readonly objects: readonly ObjectType[];
}

/** What the algebra needs to know of places. */
export interface Places {
  /** Meets both. */
  both(a: Place, b: Place): Place;
  readonly any: Place;
  readonly never: Place;
  readonly lengthUnit: LengthUnit;
}

const MAX_ALTERNATIVES = 1_000;
export const ANY_STRING: StringType = { dfa: UNIVERSAL_DFA, min: 0, max: Number.POSITIVE_INFINITY };
export const NO_STRING: StringType = { dfa: EMPTY_DFA, min: 0, max: Number.POSITIVE_INFINITY };

export const NOTHING: ValueType = {
  null: false,
  true: false,
  false: false,
  numbers: [],
  strings: NO_STRING,
  arrays: [],
  objects: [],
};

export function anyArray({ any }: Places): ArrayType {
  return { prefix: [], items: any, min: 0, max: Number.POSITIVE_INFINITY };
}

export function anyObject({ any }: Places): ObjectType {
  const classes = [{ names: UNIVERSAL_DFA, place: any }];
  return { properties: new Map(), classes, min: 0, max: Number.POSITIVE_INFINITY };
}

export function anyValue(places: Places): ValueType {
  return {
    null: true,
    true: true,
    false: true,
    numbers: [ANY_NUMBER],
    strings: ANY_STRING,
    arrays: [anyArray(places)],
    objects: [anyObject(places)],
  };
}

export function isEmptyString({ dfa, min, max }: StringType): boolean {
  return isEmptyDfa(dfa) || min > max;
}

/** The same texts with the lengths in the automaton, where it is not one of all texts. */
export function foldedString(type: StringType, unit: LengthUnit): StringType {
  if (isEmptyString(type)) return NO_STRING;
  if (type.dfa === UNIVERSAL_DFA || (type.min === 0 && type.max === Number.POSITIVE_INFINITY)) return type;
  return { ...ANY_STRING, dfa: intersectDfa(type.dfa, dfaOfLength(type.min, type.max, unit)) };
}

/** The texts as one automaton. */
export function wholeDfa(type: StringType, unit: LengthUnit): Dfa {
  if (isEmptyString(type)) return EMPTY_DFA;
  if (type.min === 0 && type.max === Number.POSITIVE_INFINITY) return type.dfa;
  return intersectDfa(type.dfa, dfaOfLength(type.min, type.max, unit));
}

function intersectStrings(a: StringType, b: StringType): StringType {
  return { dfa: intersectDfa(a.dfa, b.dfa), min: Math.max(a.min, b.min), max: Math.min(a.max, b.max) };
}

function uniteStrings(a: StringType, b: StringType, unit: LengthUnit): StringType {
  if (isEmptyString(a)) return b;
  if (isEmptyString(b)) return a;
  const touching = Math.max(a.min, b.min) <= Math.min(a.max, b.max) + 1;
  if (a.dfa === b.dfa && touching) return { dfa: a.dfa, min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) };
  return { ...ANY_STRING, dfa: uniteDfa(wholeDfa(a, unit), wholeDfa(b, unit)) };
}

function intersectRanges(a: NumberRange, b: NumberRange): NumberRange {
  const fromA = a.low > b.low || (a.low === b.low && a.lowExclusive);
  const toA = a.high < b.high || (a.high === b.high && a.highExclusive);
  return {
    low: fromA ? a.low : b.low,
    lowExclusive: fromA ? a.lowExclusive : b.lowExclusive,
    high: toA ? a.high : b.high,
    highExclusive: toA ? a.highExclusive : b.highExclusive,
    integer: a.integer || b.integer,
    multiple: commonMultiple(a.multiple, b.multiple),
  };
}

type Multiple = NumberRange['multiple'];

function commonMultiple(a: Multiple, b: Multiple): Multiple {
  if (a === undefined || b === undefined) return a ?? b;
  const decimals = Math.max(a.decimals, b.decimals);
  const [left, right] = [a.of * 10 ** (decimals - a.decimals), b.of * 10 ** (decimals - b.decimals)];
  let [x, y] = [left, right];
  while (y !== 0) [x, y] = [y, x % y];
  return { of: (left / x) * right, decimals };
}

function intersectArrays(a: ArrayType, b: ArrayType, places: Places): ArrayType {
  const length = Math.max(a.prefix.length, b.prefix.length);
  const prefix = Array.from({ length }, (_, i) => places.both(a.prefix[i] ?? a.items, b.prefix[i] ?? b.items));
  const items = places.both(a.items, b.items);
  return { prefix, items, min: Math.max(a.min, b.min), max: Math.min(a.max, b.max) };
}

/** Place of a name, whether the object lists it or not. */
function placeOf({ properties, classes }: ObjectType, name: string, places: Places): Place {
  const property = properties.get(name);
  if (property !== undefined) return property.place;
  return classes.find(({ names }) => acceptsText(names, name))?.place ?? places.never;
}

function intersectObjects(a: ObjectType, b: ObjectType, places: Places): ObjectType {
  const properties = new Map<string, { place: Place; required: boolean }>();
  for (const name of [...a.properties.keys(), ...b.properties.keys()]) {
    if (properties.has(name)) continue;
    const place = places.both(placeOf(a, name, places), placeOf(b, name, places));
    const required = (a.properties.get(name)?.required ?? false) || (b.properties.get(name)?.required ?? false);
    properties.set(name, { place, required });
  }
  const classes = a.classes.flatMap((left) =>
    b.classes.flatMap((right) => {
      const names = intersectDfa(left.names, right.names);
      return isEmptyDfa(names) ? [] : [{ names, place: places.both(left.place, right.place) }];
    }),
  );
  return { properties, classes, min: Math.max(a.min, b.min), max: Math.min(a.max, b.max) };
}

function pairs<T>(a: readonly T[], b: readonly T[], both: (left: T, right: T) => T): T[] {
  if (a.length * b.length > MAX_ALTERNATIVES) throw tooComplex(`more than ${MAX_ALTERNATIVES} alternatives`);
  return a.flatMap((left) => b.map((right) => both(left, right)));
}

export function intersectTypes(a: ValueType, b: ValueType, places: Places): ValueType {
  return {
    null: a.null && b.null,
    true: a.true && b.true,
    false: a.false && b.false,
    numbers: pairs(a.numbers, b.numbers, intersectRanges).filter((range) => !isEmptyRange(range)),
    strings: intersectStrings(a.strings, b.strings),
    arrays: pairs(a.arrays, b.arrays, (left, right) => intersectArrays(left, right, places)).filter(
      ({ min, max }) => min <= max,
    ),
    objects: pairs(a.objects, b.objects, (left, right) => intersectObjects(left, right, places)),
  };
}

export function uniteTypes(a: ValueType, b: ValueType, { lengthUnit }: Places): ValueType {
  const alternatives = a.arrays.length + b.arrays.length + a.objects.length + b.objects.length;
  if (alternatives > MAX_ALTERNATIVES) throw tooComplex(`more than ${MAX_ALTERNATIVES} alternatives`);
  return {
    null: a.null || b.null,
    true: a.true || b.true,
    false: a.false || b.false,
    numbers: [...a.numbers, ...b.numbers],
    strings: uniteStrings(a.strings, b.strings, lengthUnit),
    arrays: [...a.arrays, ...b.arrays],
    objects: [...a.objects, ...b.objects],
  };
}

/** All other values, where that is a set of this form; else the name of what is not. */
export function complementType(type: ValueType, places: Places): ValueType | 'numbers' | 'arrays' | 'objects' {
  const numbers = complementRanges(type.numbers);
  if (numbers === undefined) return 'numbers';
  const arrays = type.arrays.some((each) => isAnyArray(each, places))
    ? []
    : type.arrays.length === 0
      ? [anyArray(places)]
      : undefined;
  if (arrays === undefined) return 'arrays';
  const objects = type.objects.some((each) => isAnyObject(each, places))
    ? []
    : type.objects.length === 0
      ? [anyObject(places)]
      : undefined;
  if (objects === undefined) return 'objects';
  const strings = { ...ANY_STRING, dfa: complementDfa(wholeDfa(type.strings, places.lengthUnit)) };
  return { null: !type.null, true: !type.true, false: !type.false, numbers, strings, arrays, objects };
}

function complementRanges(ranges: readonly NumberRange[]): readonly NumberRange[] | undefined {
  let outside: NumberRange[] = [ANY_NUMBER];
  for (const { low, lowExclusive, high, highExclusive, integer, multiple } of ranges) {
    if ((integer || multiple !== undefined) && !(low === high && Number.isInteger(low))) return undefined;
    const below: NumberRange = { ...ANY_NUMBER, high: low, highExclusive: !lowExclusive };
    const above: NumberRange = { ...ANY_NUMBER, low: high, lowExclusive: !highExclusive };
    outside = outside.flatMap((range) =>
      [below, above].map((part) => intersectRanges(range, part)).filter((part) => !isEmptyRange(part)),
    );
  }
  return outside;
}

function isAnyArray({ prefix, items, min, max }: ArrayType, { any }: Places): boolean {
  return items === any && prefix.every((place) => place === any) && min === 0 && max === Number.POSITIVE_INFINITY;
}

function isAnyObject({ properties, classes, min, max }: ObjectType, { any }: Places): boolean {
  const open = classes.length === 1 && classes[0]!.names === UNIVERSAL_DFA && classes[0]!.place === any;
  const free = [...properties.values()].every(({ place, required }) => place === any && !required);
  return open && free && min === 0 && max === Number.POSITIVE_INFINITY;
}

/** Names that are so few that they can be listed. */
const MAX_LISTED_NAMES = 1_000;

/** The same object with every class of few names written out as properties, and the classes without those. */
export function listedObject(type: ObjectType): ObjectType {
  const properties = new Map(type.properties);
  const declared = dfaOfWords(type.properties.keys());
  const classes = type.classes.flatMap(({ names, place }) => {
    const others = subtractDfa(names, declared);
    const words = wordsOf(others, MAX_LISTED_NAMES);
    if (words === undefined) return [{ names: others, place }];
    for (const name of words) properties.set(name, { place, required: false });
    return [];
  });
  return { ...type, properties, classes };
}
