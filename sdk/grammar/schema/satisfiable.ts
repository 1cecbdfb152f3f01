/** Which places some value can stand in. Recursion that never ends has none. */
import { isEmptyDfa } from '../automata/dfa.js';
import { dfaOfNumbers } from '../automata/numbers.js';
import { type ArrayType, isEmptyString, type ObjectType, type Place, type ValueType } from './value-type.js';

interface TypeSource {
  /** undefined while it is being made; such a place counts as one that can be filled */
  typeIfKnown(place: Place): ValueType | undefined;
}

/** Answers for the places of one schema; what is proven is remembered. */
export class Satisfiability {
  readonly #source: TypeSource;
  /** Proven once and for all: what can be filled, can. */
  readonly #fillable = new Set<Place>();
  readonly #empty = new Set<Place>();

  constructor(source: TypeSource) {
    this.#source = source;
  }

  isEmpty(place: Place): boolean {
    if (this.#empty.has(place)) return true;
    return !this.#prove([place])(place);
  }

  isEmptyType(type: ValueType): boolean {
    // Most are told by what they are without looking inside.
    if (!isFillable(type, () => true)) return true;
    return !isFillable(type, this.#prove(neededPlaces(type)));
  }

  /** Least set that closes: a place is fillable once all that one of its alternatives needs is. */
  #prove(roots: readonly Place[]): (place: Place) => boolean {
    const found = new Set<Place>();
    const fillable = (place: Place) => this.#fillable.has(place) || found.has(place);
    const types = new Map<Place, ValueType>();
    let guessed = false;
    const pending = [...roots];
    for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
      if (types.has(place) || fillable(place) || this.#empty.has(place)) continue;
      const type = this.#source.typeIfKnown(place);
      if (type === undefined) {
        guessed = true;
        found.add(place);
        continue;
      }
      types.set(place, type);
      if (isFillable(type, fillable)) found.add(place);
      else pending.push(...neededPlaces(type));
    }
    const open = [...types].reverse();
    for (let changed = true; changed; ) {
      changed = false;
      for (const [place, type] of open) {
        if (fillable(place) || !isFillable(type, fillable)) continue;
        found.add(place);
        changed = true;
      }
    }
    for (const [place] of open) if (!fillable(place)) this.#empty.add(place);
    if (!guessed) for (const place of found) this.#fillable.add(place);
    return fillable;
  }
}

function neededPlaces(type: ValueType): Place[] {
  return [
    ...type.arrays.flatMap((array) => requiredItems(array)),
    ...type.objects.flatMap(({ properties, min }) =>
      [...properties.values()].flatMap(({ place, required }) => (required || min > 0 ? [place] : [])),
    ),
    ...type.objects.flatMap(({ classes, min }) => (min > 0 ? classes.map(({ place }) => place) : [])),
  ];
}

function requiredItems({ prefix, items, min }: ArrayType): Place[] {
  const needed = prefix.slice(0, min);
  return min > prefix.length ? [...needed, items] : needed;
}

/** Whether a type has any value, when `fillable` tells that of the places below it. */
function isFillable(type: ValueType, fillable: (place: Place) => boolean): boolean {
  if (type.null || type.true || type.false || !isEmptyString(type.strings)) return true;
  if (type.numbers.some((range) => range.multiple === undefined || !isEmptyDfa(dfaOfNumbers([range])))) return true;
  if (type.arrays.some((array) => array.min <= array.max && requiredItems(array).every(fillable))) return true;
  return type.objects.some((object) => isFillableObject(object, fillable));
}

function isFillableObject({ properties, classes, min, max }: ObjectType, fillable: (place: Place) => boolean): boolean {
  const all = [...properties.values()];
  const required = all.filter((property) => property.required);
  if (required.length > max || !required.every(({ place }) => fillable(place))) return false;
  if (min <= required.length) return true;
  const open = classes.some(({ place }) => fillable(place));
  return open || all.filter(({ place }) => fillable(place)).length >= min;
}
