/** A compiled schema: what a matcher walks. Plain data, so that it crosses a thread border; rule 0 is the answer. */
import { type Dfa, isEmptyDfa, type LengthUnit } from './automata/dfa.js';
import { dfaOfNumbers } from './automata/numbers.js';
import { checkSatisfiable, SchemaTypes } from './schema/evaluate.js';
import { type JsonSchema, SchemaDocument } from './schema/json-schema.js';
import { isEmptyString, type ObjectType, type Place, type StringType, type ValueType } from './schema/value-type.js';

export interface ArrayRule {
  /** Rules of the first items, then of all others. */
  readonly prefix: readonly number[];
  readonly items: number;
  readonly min: number;
  readonly max: number;
}

export interface ObjectRule {
  readonly properties: readonly { readonly name: string; readonly rule: number; readonly required: boolean }[];
  readonly classes: readonly { readonly names: Dfa; readonly rule: number }[];
  readonly min: number;
  readonly max: number;
}

export interface ValueRule {
  readonly words: readonly ('null' | 'true' | 'false')[];
  readonly numbers: Dfa | undefined;
  readonly strings: StringType | undefined;
  readonly arrays: readonly ArrayRule[];
  readonly objects: readonly ObjectRule[];
}

export interface Grammar {
  readonly rules: readonly ValueRule[];
  readonly lengthUnit: LengthUnit;
}

/**
 * @param schema plain data, as `readSchema` gives it
 * @throws SdkError ERR_SCHEMA_INVALID, ERR_SCHEMA_UNSUPPORTED (with `details.path`), ERR_SCHEMA_UNSATISFIABLE,
 * ERR_LIMIT_EXCEEDED
 */
export function compileGrammar(schema: JsonSchema, lengthUnit: LengthUnit = 'codePoints'): Grammar {
  const types = new SchemaTypes(new SchemaDocument(schema), lengthUnit);
  checkSatisfiable(types);
  return { rules: new RuleBuilder(types).build(), lengthUnit };
}

class RuleBuilder {
  readonly #types: SchemaTypes;
  readonly #ids = new Map<Place, number>();
  readonly #places: Place[] = [];

  constructor(types: SchemaTypes) {
    this.#types = types;
  }

  build(): readonly ValueRule[] {
    this.#idOf(this.#types.root);
    const rules: ValueRule[] = [];
    for (let id = 0; id < this.#places.length; id++) rules.push(this.#rule(this.#types.typeOf(this.#places[id]!)));
    return rules;
  }

  #idOf(place: Place): number {
    let id = this.#ids.get(place);
    if (id === undefined) {
      id = this.#places.push(place) - 1;
      this.#ids.set(place, id);
    }
    return id;
  }

  #rule(type: ValueType): ValueRule {
    const words = (['null', 'true', 'false'] as const).filter((word) => type[word]);
    const numbers = dfaOfNumbers(type.numbers);
    return {
      words,
      numbers: isEmptyDfa(numbers) ? undefined : numbers,
      strings: isEmptyString(type.strings) ? undefined : type.strings,
      arrays: type.arrays.flatMap((array) => {
        // What can never be filled ends the array before it.
        const places = [...array.prefix, array.items];
        const firstEmpty = places.findIndex((place) => this.#types.satisfiability.isEmpty(place));
        const max = firstEmpty === -1 ? array.max : Math.min(array.max, firstEmpty);
        if (array.min > max) return [];
        const rules = places.slice(0, firstEmpty === -1 ? places.length : firstEmpty).map((place) => this.#idOf(place));
        const prefix = rules.slice(0, array.prefix.length);
        return [{ prefix, items: rules[array.prefix.length] ?? -1, min: array.min, max }];
      }),
      objects: type.objects.flatMap((object) => this.#objectRule(object)),
    };
  }

  #objectRule({ properties, classes, min, max }: ObjectType): ObjectRule[] {
    const { satisfiability } = this.#types;
    const listed = [...properties].map(([name, { place, required }]) => ({
      name,
      place,
      required,
      empty: satisfiability.isEmpty(place),
    }));
    if (listed.some(({ required, empty }) => required && empty)) return [];
    const kept = listed.filter(({ empty, name }) => !empty && !/\p{Cs}/u.test(name));
    const open = classes.filter(({ place }) => !satisfiability.isEmpty(place));
    const required = kept.filter((property) => property.required).length;
    if (required > max || (open.length === 0 && kept.length < min)) return [];
    return [
      {
        properties: kept.map(({ name, place, required }) => ({ name, rule: this.#idOf(place), required })),
        classes: open.map(({ names, place }) => ({ names, rule: this.#idOf(place) })),
        min,
        max,
      },
    ];
  }
}
