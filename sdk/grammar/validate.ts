/**
 * Whether a value meets a schema, by reading it keyword by keyword: nothing in common with the grammar but the formats,
 * so that each checks the other. Of the keywords that the grammar enforces, and no others.
 */
import { FORMATS } from './schema/formats.js';
import { type JsonSchema, type JsonValue, pathOf, SchemaDocument, type SchemaNode } from './schema/json-schema.js';

/** Where a value and a schema do not agree. */
export interface Mismatch {
  /** JSON Pointer into the value; '' is the whole. */
  readonly valuePath: string;
  readonly schemaPath: string;
}

type Keywords = Exclude<JsonSchema, boolean>;

/** The first mismatch; undefined when the value meets the schema. @param schema one that was compiled */
export function findMismatch(schema: JsonSchema, value: JsonValue): Mismatch | undefined {
  const document = new SchemaDocument(schema);
  return new Validator(document).check(document.root, value, '');
}

class Validator {
  readonly #document: SchemaDocument;
  readonly #patterns = new Map<string, RegExp>();

  constructor(document: SchemaDocument) {
    this.#document = document;
  }

  check({ schema, path }: SchemaNode, value: JsonValue, at: string): Mismatch | undefined {
    if (schema === true) return undefined;
    const miss = (keyword?: string): Mismatch => ({
      valuePath: at,
      schemaPath: keyword === undefined ? path : pathOf(path, keyword),
    });
    if (schema === false) return miss();
    if (schema.type !== undefined && ![schema.type].flat().some((name) => isOfType(value, name as string)))
      return miss('type');
    if ('const' in schema && !equals(value, schema.const as JsonValue)) return miss('const');
    if ('enum' in schema && !(schema.enum as JsonValue[]).some((each) => equals(value, each))) return miss('enum');
    return (
      this.#checkCombined(schema, path, value, at) ??
      (typeof value === 'number' ? numberMiss(schema, value, miss) : undefined) ??
      (typeof value === 'string' ? this.#stringMiss(schema, value, miss) : undefined) ??
      (Array.isArray(value) ? this.#checkArray(schema, path, value as readonly JsonValue[], at) : undefined) ??
      (isObject(value) ? this.#checkObject(schema, path, value, at) : undefined)
    );
  }

  #checkAt(schema: unknown, path: string, value: JsonValue, at: string): Mismatch | undefined {
    return this.check(this.#document.node(schema, path), value, at);
  }

  #meets(schema: unknown, path: string, value: JsonValue, at: string): boolean {
    return this.#checkAt(schema, path, value, at) === undefined;
  }

  #checkCombined(schema: Keywords, path: string, value: JsonValue, at: string): Mismatch | undefined {
    if (schema.$ref !== undefined) {
      const miss = this.check(this.#document.resolve(schema.$ref, path), value, at);
      if (miss !== undefined) return miss;
    }
    for (const [i, part] of ((schema.allOf ?? []) as unknown[]).entries()) {
      const miss = this.#checkAt(part, pathOf(path, 'allOf', i), value, at);
      if (miss !== undefined) return miss;
    }
    const met = (keyword: string) =>
      ((schema[keyword] as unknown[]) ?? []).filter((part, i) => this.#meets(part, pathOf(path, keyword, i), value, at))
        .length;
    if (schema.anyOf !== undefined && met('anyOf') === 0) return { valuePath: at, schemaPath: pathOf(path, 'anyOf') };
    if (schema.oneOf !== undefined && met('oneOf') !== 1) return { valuePath: at, schemaPath: pathOf(path, 'oneOf') };
    if (schema.not !== undefined && this.#meets(schema.not, pathOf(path, 'not'), value, at)) {
      return { valuePath: at, schemaPath: pathOf(path, 'not') };
    }
    if (schema.if === undefined) return undefined;
    const branch = this.#meets(schema.if, pathOf(path, 'if'), value, at) ? 'then' : 'else';
    return schema[branch] === undefined ? undefined : this.#checkAt(schema[branch], pathOf(path, branch), value, at);
  }

  #stringMiss(schema: Keywords, value: string, miss: (keyword: string) => Mismatch): Mismatch | undefined {
    const length = Array.from(value).length;
    if (length < ((schema.minLength as number) ?? 0)) return miss('minLength');
    if (length > ((schema.maxLength as number) ?? Number.POSITIVE_INFINITY)) return miss('maxLength');
    if (schema.pattern !== undefined && !this.#pattern(schema.pattern as string).test(value)) return miss('pattern');
    const format = FORMATS[schema.format as string];
    return format !== undefined && !this.#pattern(format).test(value) ? miss('format') : undefined;
  }

  #pattern(source: string): RegExp {
    let pattern = this.#patterns.get(source);
    if (pattern === undefined) {
      try {
        pattern = new RegExp(source, 'u');
      } catch {
        pattern = new RegExp(source); // escapes such as \- that only the old syntax knows
      }
      this.#patterns.set(source, pattern);
    }
    return pattern;
  }

  #checkArray(schema: Keywords, path: string, value: readonly JsonValue[], at: string): Mismatch | undefined {
    const miss = (keyword: string): Mismatch => ({ valuePath: at, schemaPath: pathOf(path, keyword) });
    if (value.length < ((schema.minItems as number) ?? 0)) return miss('minItems');
    if (value.length > ((schema.maxItems as number) ?? Number.POSITIVE_INFINITY)) return miss('maxItems');
    if (
      schema.uniqueItems === true &&
      value.some((item, i) => value.slice(0, i).some((other) => equals(item, other)))
    ) {
      return miss('uniqueItems');
    }
    const prefix = (schema.prefixItems ?? []) as unknown[];
    for (const [i, item] of value.entries()) {
      const place = `${at}/${i}`;
      const found =
        i < prefix.length
          ? this.#checkAt(prefix[i], pathOf(path, 'prefixItems', i), item, place)
          : schema.items === undefined
            ? undefined
            : this.#checkAt(schema.items, pathOf(path, 'items'), item, place);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #checkObject(
    schema: Keywords,
    path: string,
    value: { readonly [key: string]: JsonValue },
    at: string,
  ): Mismatch | undefined {
    const miss = (keyword: string): Mismatch => ({ valuePath: at, schemaPath: pathOf(path, keyword) });
    const entries = Object.entries(value);
    if (entries.length < ((schema.minProperties as number) ?? 0)) return miss('minProperties');
    if (entries.length > ((schema.maxProperties as number) ?? Number.POSITIVE_INFINITY)) return miss('maxProperties');
    if (((schema.required ?? []) as string[]).some((name) => !Object.hasOwn(value, name))) return miss('required');
    const properties = (schema.properties ?? {}) as Record<string, unknown>;
    const patterns = Object.entries((schema.patternProperties ?? {}) as Record<string, unknown>);
    for (const [name, item] of entries) {
      const place = pathOf(at, name);
      const parts: [unknown, string][] = [];
      if (Object.hasOwn(properties, name)) parts.push([properties[name], pathOf(path, 'properties', name)]);
      for (const [pattern, part] of patterns) {
        if (this.#pattern(pattern).test(name)) parts.push([part, pathOf(path, 'patternProperties', pattern)]);
      }
      if (parts.length === 0 && schema.additionalProperties !== undefined) {
        parts.push([schema.additionalProperties, pathOf(path, 'additionalProperties')]);
      }
      for (const [part, where] of parts) {
        const found = this.#checkAt(part, where, item, place);
        if (found !== undefined) return found;
      }
      if (schema.propertyNames !== undefined) {
        const found = this.#checkAt(schema.propertyNames, pathOf(path, 'propertyNames'), name, place);
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }
}

function numberMiss(schema: Keywords, value: number, miss: (keyword: string) => Mismatch): Mismatch | undefined {
  const limit = (keyword: string, otherwise: number) => (schema[keyword] as number | undefined) ?? otherwise;
  if (value < limit('minimum', Number.NEGATIVE_INFINITY)) return miss('minimum');
  if (value > limit('maximum', Number.POSITIVE_INFINITY)) return miss('maximum');
  if (value <= limit('exclusiveMinimum', Number.NEGATIVE_INFINITY)) return miss('exclusiveMinimum');
  if (value >= limit('exclusiveMaximum', Number.POSITIVE_INFINITY)) return miss('exclusiveMaximum');
  return Number.isInteger(value / limit('multipleOf', value === 0 ? 1 : value)) ? undefined : miss('multipleOf');
}

function isObject(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isOfType(value: JsonValue, name: string): boolean {
  switch (name) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'integer':
      return Number.isInteger(value);
    case 'number':
      return Number.isFinite(value);
    default:
      return typeof value === name;
  }
}

function equals(a: JsonValue, b: JsonValue): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [Object.entries(a), Object.entries(b)];
  const other = b as { readonly [key: string]: JsonValue };
  return (
    left.length === right.length &&
    left.every(([key, value]) => Object.hasOwn(other, key) && equals(value, other[key]!))
  );
}
