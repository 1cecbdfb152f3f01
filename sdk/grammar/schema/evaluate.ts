/** Schemas to types: every keyword is taken, or refused with its path. */
import { SdkError } from '../../core/errors.js';
import {
  acceptsText,
  type Dfa,
  dfaOfWords,
  intersectDfa,
  isEmptyDfa,
  type LengthUnit,
  subtractDfa,
  UNIVERSAL_DFA,
} from '../automata/dfa.js';
import { isEmptyRange } from '../automata/numbers.js';
import { invalidSchema, type SchemaPath, tooComplex, unsupported } from '../errors.js';
import { type JsonSchema, type JsonValue, pathOf, type SchemaDocument, type SchemaNode } from './json-schema.js';
import { checkKeywords, countOf, patternDfa, rangeOf, stringTypeOf, typesOf } from './keywords.js';
import { Satisfiability } from './satisfiable.js';
import {
  ANY_STRING,
  type ArrayType,
  anyArray,
  anyObject,
  anyValue,
  complementType,
  foldedString,
  intersectTypes,
  listedObject,
  NO_STRING,
  NOTHING,
  type ObjectType,
  type Place,
  type Places,
  uniteTypes,
  type ValueType,
  wholeDfa,
} from './value-type.js';

type Keywords = Exclude<JsonSchema, boolean>;

interface SchemaPlace extends Place {
  readonly nodes: readonly SchemaNode[];
}

class SelfReference extends SdkError {
  constructor(path: SchemaPath) {
    const { message, details } = unsupported(
      path,
      'it refers to itself without an array or object in between',
      'Take the circle of $ref out.',
    );
    super('ERR_SCHEMA_UNSUPPORTED', message, { details });
  }
}

const MAX_PLACES = 50_000;
const MAX_PATTERN_PROPERTIES = 6;

export class SchemaTypes implements Places {
  readonly lengthUnit: LengthUnit;
  readonly any: Place;
  readonly never: Place;
  readonly root: Place;
  readonly satisfiability = new Satisfiability(this);
  readonly #document: SchemaDocument;
  readonly #places: SchemaPlace[] = [];
  readonly #placeOfNodes = new Map<string, SchemaPlace>();
  readonly #types = new Map<Place, ValueType>();
  readonly #nodeTypes = new Map<SchemaNode, ValueType>();
  readonly #inProgress = new Set<SchemaNode>();

  constructor(document: SchemaDocument, lengthUnit: LengthUnit) {
    this.#document = document;
    this.lengthUnit = lengthUnit;
    this.any = this.#place([]);
    this.never = this.#place([document.node(false, '#')]);
    this.root = this.#placeOf(document.root);
  }

  both(a: Place, b: Place): Place {
    if (a === b || b === this.any) return a;
    if (a === this.any) return b;
    if (a === this.never || b === this.never) return this.never;
    return this.#place([...(a as SchemaPlace).nodes, ...(b as SchemaPlace).nodes]);
  }

  /** What may stand there. */
  typeOf(place: Place): ValueType {
    let type = this.#types.get(place);
    if (type === undefined) {
      const types = (place as SchemaPlace).nodes.map((node) => this.#typeOfNode(node));
      const all = types.length === 0 ? anyValue(this) : types.reduce((a, b) => intersectTypes(a, b, this));
      this.#checkMultiples(all, this.pathOf(place));
      type = {
        ...all,
        strings: foldedString(all.strings, this.lengthUnit),
        objects: all.objects.map(listedObject),
      };
      this.#types.set(place, type);
    }
    return type;
  }

  /** The same, but undefined while what it refers to is itself being made. */
  typeIfKnown(place: Place): ValueType | undefined {
    try {
      return this.typeOf(place);
    } catch (error) {
      if (error instanceof SelfReference && this.#inProgress.size > 0) return undefined;
      throw error;
    }
  }

  pathOf(place: Place): SchemaPath {
    return (place as SchemaPlace).nodes[0]?.path ?? '#';
  }

  #placeOf(node: SchemaNode): Place {
    if (node.schema === true || (typeof node.schema === 'object' && Object.keys(node.schema).length === 0))
      return this.any;
    return node.schema === false ? this.never : this.#place([node]);
  }

  #subschema(schema: unknown, path: SchemaPath): Place {
    return this.#placeOf(this.#document.node(schema, path));
  }

  #place(nodes: readonly SchemaNode[]): SchemaPlace {
    const sorted = [...new Set(nodes)].sort((a, b) => a.id - b.id);
    const key = sorted.map(({ id }) => id).join(' ');
    let place = this.#placeOfNodes.get(key);
    if (place === undefined) {
      if (this.#places.length >= MAX_PLACES) throw tooComplex(`more than ${MAX_PLACES} combinations of its parts`);
      place = { id: this.#places.length, nodes: sorted };
      this.#places.push(place);
      this.#placeOfNodes.set(key, place);
    }
    return place;
  }

  #typeOfNode(node: SchemaNode): ValueType {
    const known = this.#nodeTypes.get(node);
    if (known !== undefined) return known;
    if (this.#inProgress.has(node)) {
      throw new SelfReference(node.path);
    }
    this.#inProgress.add(node);
    try {
      const type = this.#evaluate(node);
      this.#nodeTypes.set(node, type);
      return type;
    } finally {
      this.#inProgress.delete(node);
    }
  }

  #evaluate({ schema, path }: SchemaNode): ValueType {
    if (schema === true) return anyValue(this);
    if (schema === false) return NOTHING;
    checkKeywords(schema, path);
    const parts: ValueType[] = [];
    if ('const' in schema) parts.push(this.#constants([schema.const as JsonValue], pathOf(path, 'const')));
    if ('enum' in schema) {
      if (!Array.isArray(schema.enum)) throw invalidSchema(pathOf(path, 'enum'), 'a list of values', schema.enum);
      parts.push(this.#constants(schema.enum as JsonValue[], pathOf(path, 'enum')));
    }
    if (schema.$ref !== undefined) parts.push(this.#typeOfNode(this.#document.resolve(schema.$ref, path)));
    for (const [i, part] of this.#list(schema, 'allOf', path).entries()) {
      parts.push(this.#typeAt(part, pathOf(path, 'allOf', i)));
    }
    if (schema.anyOf !== undefined) parts.push(this.#anyOf(schema, path));
    if (schema.oneOf !== undefined) parts.push(this.#oneOf(schema, path));
    if (schema.not !== undefined)
      parts.push(this.#not(this.#typeAt(schema.not, pathOf(path, 'not')), pathOf(path, 'not')));
    if (schema.if !== undefined) parts.push(this.#conditional(schema, path));
    return parts.reduce((a, b) => intersectTypes(a, b, this), this.#ownType(schema, path));
  }

  #typeAt(schema: unknown, path: SchemaPath): ValueType {
    return this.#typeOfNode(this.#document.node(schema, path));
  }

  #list(schema: Keywords, keyword: string, path: SchemaPath): readonly unknown[] {
    const list = schema[keyword];
    if (list === undefined) return [];
    if (!Array.isArray(list) || list.length === 0)
      throw invalidSchema(pathOf(path, keyword), 'a list of schemas', list);
    return list;
  }

  /** Of the keywords that speak of one kind of value. */
  #ownType(schema: Keywords, path: SchemaPath): ValueType {
    const types = typesOf(schema, path);
    const range = rangeOf(schema, path);
    const integer = types.has('integer') && !types.has('number');
    const numbers = types.has('number') || types.has('integer') ? [{ ...range, integer }] : [];
    const strings = stringTypeOf(schema, path);
    const array = this.#arrayType(schema, path, types.has('array'));
    const object = this.#objectType(schema, path);
    return {
      null: types.has('null'),
      true: types.has('boolean'),
      false: types.has('boolean'),
      numbers: numbers.filter((each) => !isEmptyRange(each)),
      strings: types.has('string') ? strings : NO_STRING,
      arrays: types.has('array') && array.min <= array.max ? [array] : [],
      objects: types.has('object') ? [object] : [],
    };
  }

  #arrayType(schema: Keywords, path: SchemaPath, wanted: boolean): ArrayType {
    const prefix = this.#list(schema, 'prefixItems', path).map((item, i) =>
      this.#subschema(item, pathOf(path, 'prefixItems', i)),
    );
    if (Array.isArray(schema.items)) {
      throw unsupported(pathOf(path, 'items'), 'items as a list', 'Use prefixItems (JSON Schema 2020-12).');
    }
    const items = schema.items === undefined ? this.any : this.#subschema(schema.items, pathOf(path, 'items'));
    const min = countOf(schema, 'minItems', 0, path);
    let max = countOf(schema, 'maxItems', Number.POSITIVE_INFINITY, path);
    if (items === this.never) max = Math.min(max, prefix.length);
    if (schema.uniqueItems === true && max > 1 && wanted) {
      throw unsupported(
        pathOf(path, 'uniqueItems'),
        'uniqueItems',
        'Leave it out and drop repetitions from the answer yourself.',
      );
    }
    return { ...anyArray(this), prefix, items, min, max };
  }

  #objectType(schema: Keywords, path: SchemaPath): ObjectType {
    const names = this.#propertyNames(schema, path);
    const patterns = Object.entries(this.#record(schema, 'patternProperties', path)).map(([pattern, part]) => {
      const at = pathOf(path, 'patternProperties', pattern);
      return { names: patternDfa(pattern, at), place: this.#subschema(part, at) };
    });
    if (patterns.length > MAX_PATTERN_PROPERTIES) {
      throw unsupported(
        pathOf(path, 'patternProperties'),
        `more than ${MAX_PATTERN_PROPERTIES} patterns`,
        'Join some of them.',
      );
    }
    const { additionalProperties = true } = schema;
    const additional = this.#subschema(additionalProperties, pathOf(path, 'additionalProperties'));
    // Of each combination of patterns that a name may match, what its value must meet.
    let classes: { names: Dfa; place: Place; matched: boolean }[] = [{ names, place: this.any, matched: false }];
    for (const pattern of patterns) {
      classes = classes.flatMap((each) => [
        { names: intersectDfa(each.names, pattern.names), place: this.both(each.place, pattern.place), matched: true },
        { ...each, names: subtractDfa(each.names, pattern.names) },
      ]);
      classes = classes.filter((each) => !isEmptyDfa(each.names));
    }
    const open: ObjectType = {
      ...anyObject(this),
      classes: classes.map((each) => ({ names: each.names, place: each.matched ? each.place : additional })),
    };
    const declared = Object.entries(this.#record(schema, 'properties', path));
    const properties = new Map<string, { place: Place; required: boolean }>();
    for (const [name, part] of declared) {
      let place = this.#subschema(part, pathOf(path, 'properties', name));
      for (const pattern of patterns) if (acceptsText(pattern.names, name)) place = this.both(place, pattern.place);
      properties.set(name, { place: acceptsText(names, name) ? place : this.never, required: false });
    }
    for (const name of this.#required(schema, path)) {
      const place =
        properties.get(name)?.place ?? open.classes.find((each) => acceptsText(each.names, name))?.place ?? this.never;
      properties.set(name, { place, required: true });
    }
    const min = countOf(schema, 'minProperties', 0, path);
    return { ...open, properties, min, max: countOf(schema, 'maxProperties', Number.POSITIVE_INFINITY, path) };
  }

  #propertyNames(schema: Keywords, path: SchemaPath): Dfa {
    if (schema.propertyNames === undefined) return UNIVERSAL_DFA;
    const type = this.typeOf(this.#subschema(schema.propertyNames, pathOf(path, 'propertyNames')));
    return wholeDfa(type.strings, this.lengthUnit);
  }

  #required(schema: Keywords, path: SchemaPath): readonly string[] {
    const { required } = schema;
    if (required === undefined) return [];
    if (Array.isArray(required) && required.every((name) => typeof name === 'string')) return required;
    throw invalidSchema(pathOf(path, 'required'), 'a list of names', required);
  }

  #record(schema: Keywords, keyword: string, path: SchemaPath): Readonly<Record<string, unknown>> {
    const record = schema[keyword];
    if (record === undefined) return {};
    if (typeof record === 'object' && record !== null && !Array.isArray(record))
      return record as Record<string, unknown>;
    throw invalidSchema(pathOf(path, keyword), 'an object of schemas', record);
  }

  #constants(values: readonly JsonValue[], path: SchemaPath): ValueType {
    const strings = values.filter((value) => typeof value === 'string');
    const others = values.filter((value) => typeof value !== 'string');
    const ofStrings = {
      ...NOTHING,
      strings: strings.length === 0 ? NO_STRING : { ...ANY_STRING, dfa: dfaOfWords(strings) },
    };
    return others.reduce<ValueType>((type, value) => uniteTypes(type, this.#constant(value, path), this), ofStrings);
  }

  #constant(value: Exclude<JsonValue, string>, path: SchemaPath): ValueType {
    if (value === null) return { ...NOTHING, null: true };
    if (value === true) return { ...NOTHING, true: true };
    if (value === false) return { ...NOTHING, false: true };
    if (typeof value === 'number') {
      const range = {
        low: value,
        lowExclusive: false,
        high: value,
        highExclusive: false,
        integer: Number.isInteger(value),
      };
      return { ...NOTHING, numbers: [range] };
    }
    if (Array.isArray(value)) {
      const prefix = value.map((item: JsonValue, i: number) =>
        this.#placeOf(this.#document.constant(item, pathOf(path, i))),
      );
      return { ...NOTHING, arrays: [{ prefix, items: this.never, min: value.length, max: value.length }] };
    }
    const properties = new Map(
      Object.entries(value as Record<string, JsonValue>).map(([name, item]) => [
        name,
        { place: this.#placeOf(this.#document.constant(item, pathOf(path, name))), required: true },
      ]),
    );
    return { ...NOTHING, objects: [{ properties, classes: [], min: 0, max: Number.POSITIVE_INFINITY }] };
  }

  #anyOf(schema: Keywords, path: SchemaPath): ValueType {
    const options = this.#list(schema, 'anyOf', path).map((part, i) => this.#typeAt(part, pathOf(path, 'anyOf', i)));
    return options.reduce((a, b) => uniteTypes(a, b, this));
  }

  /** Exactly one: the same as any of them where no two have a value in common. */
  #oneOf(schema: Keywords, path: SchemaPath): ValueType {
    const options = this.#list(schema, 'oneOf', path).map((part, i) => this.#typeAt(part, pathOf(path, 'oneOf', i)));
    const overlapping = options.flatMap((a, i) =>
      options.slice(i + 1).flatMap((b, j) => (this.#areDisjoint(a, b) ? [] : [[i, i + 1 + j] as const])),
    );
    if (overlapping.length === 0) return options.reduce((a, b) => uniteTypes(a, b, this));
    const alone = options.map((option, i) =>
      options.reduce((rest, other, j) => {
        if (i === j || !overlapping.some(([a, b]) => (a === i && b === j) || (a === j && b === i))) return rest;
        const outside = complementType(other, this);
        if (typeof outside !== 'string') return intersectTypes(rest, outside, this);
        const [first, second] = overlapping[0]!;
        const what = `branches ${first} and ${second} may both be met`;
        throw unsupported(
          pathOf(path, 'oneOf'),
          what,
          'Tell them apart by a required property with a const, or use anyOf.',
        );
      }, option),
    );
    return alone.reduce((a, b) => uniteTypes(a, b, this));
  }

  #areDisjoint(a: ValueType, b: ValueType): boolean {
    return this.satisfiability.isEmptyType(intersectTypes(a, b, this));
  }

  #not(type: ValueType, path: SchemaPath): ValueType {
    const outside = complementType(type, this);
    if (typeof outside !== 'string') return outside;
    throw unsupported(path, `the complement of some ${outside}`, 'Say what is allowed instead.');
  }

  /** (if and then) or (not if and else). */
  #conditional(schema: Keywords, path: SchemaPath): ValueType {
    const [condition, anything] = [this.#typeAt(schema.if, pathOf(path, 'if')), anyValue(this)];
    const met = schema.then === undefined ? anything : this.#typeAt(schema.then, pathOf(path, 'then'));
    const unmet = schema.else === undefined ? anything : this.#typeAt(schema.else, pathOf(path, 'else'));
    const outside = this.#not(condition, pathOf(path, 'if'));
    return uniteTypes(intersectTypes(condition, met, this), intersectTypes(outside, unmet, this), this);
  }

  /** A multiple is decided by the digits, which doubles keep up to 2⁵³ only. */
  #checkMultiples(type: ValueType, path: SchemaPath): void {
    for (const { multiple, low, high } of type.numbers) {
      if (multiple === undefined || Math.max(-low, high) <= Number.MAX_SAFE_INTEGER) continue;
      throw unsupported(
        pathOf(path, 'multipleOf'),
        'multipleOf beyond ±(2^53 - 1)',
        'Give a minimum and a maximum, or use integers as zod writes them.',
      );
    }
  }
}

/** @throws SdkError ERR_SCHEMA_UNSATISFIABLE when no value at all meets the schema */
export function checkSatisfiable(types: SchemaTypes): void {
  if (!types.satisfiability.isEmpty(types.root)) return;
  throw new SdkError(
    'ERR_SCHEMA_UNSATISFIABLE',
    'Expected a schema that some value meets but none can. Look for bounds out of order, required properties that are forbidden, or recursion without an end.',
  );
}
