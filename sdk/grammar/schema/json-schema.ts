/** A JSON Schema document as it arrives: nothing about it is believed. */
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { invalidSchema, type SchemaPath, unsupported } from '../errors.js';

/** A JSON Schema, draft 2020-12. Plain data. */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };
/** What JSON can say. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** A schema and where it stands. The same object is the same node. */
export interface SchemaNode {
  readonly id: number;
  readonly schema: JsonSchema;
  readonly path: SchemaPath;
}

/**
 * Parsed copy of a schema, so that it is plain data and cannot change under the compiler.
 * @throws SdkError ERR_SCHEMA_INVALID, ERR_LIMIT_EXCEEDED above `LIMITS.schemaCharacters` or when nested too deep
 */
export function readSchema(schema: unknown): { readonly schema: JsonSchema; readonly text: string } {
  let text: string | undefined;
  try {
    text = JSON.stringify(schema);
  } catch (cause) {
    const message = cause instanceof RangeError ? 'it is nested too deep' : (cause as Error).message;
    throw new SdkError('ERR_SCHEMA_INVALID', `Expected a JSON Schema but it cannot be written as JSON: ${message}.`, {
      cause,
    });
  }
  if (text === undefined) throw invalidSchema('#', 'a JSON Schema (an object, true or false)', schema);
  if (text.length > LIMITS.schemaCharacters) {
    throw new SdkError(
      'ERR_LIMIT_EXCEEDED',
      `Expected a schema of at most ${LIMITS.schemaCharacters} characters but received ${text.length}. Split it or shorten its enumerations.`,
      { details: { maxCharacters: LIMITS.schemaCharacters, characters: text.length } },
    );
  }
  const parsed = JSON.parse(text) as JsonSchema;
  checkDepth(parsed);
  return { schema: parsed, text };
}

function checkDepth(schema: unknown): void {
  let level: unknown[] = [schema];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > LIMITS.schemaDepth) {
      throw new SdkError(
        'ERR_LIMIT_EXCEEDED',
        `Expected a schema nested at most ${LIMITS.schemaDepth} deep but it is deeper.`,
        {
          details: { maxDepth: LIMITS.schemaDepth },
        },
      );
    }
    level = level.flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : []));
  }
}

/** Nodes of one document; `$ref` finds them by JSON Pointer. */
export class SchemaDocument {
  readonly #root: JsonSchema;
  readonly #nodes = new Map<object, SchemaNode>();
  #count = 0;

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  get root(): SchemaNode {
    return this.node(this.#root, '#');
  }

  /** @throws SdkError ERR_SCHEMA_INVALID where no schema stands */
  node(schema: unknown, path: SchemaPath): SchemaNode {
    if (typeof schema === 'boolean') return { id: this.#count++, schema, path };
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
      throw invalidSchema(path, 'a schema (an object, true or false)', schema);
    }
    let node = this.#nodes.get(schema);
    if (node === undefined) {
      node = { id: this.#count++, schema: schema as JsonSchema, path };
      this.#nodes.set(schema, node);
    }
    return node;
  }

  /** A schema that admits one value, for the parts of a constant. */
  constant(value: JsonValue, path: SchemaPath): SchemaNode {
    return { id: this.#count++, schema: { const: value }, path };
  }

  resolve(reference: unknown, path: SchemaPath): SchemaNode {
    if (typeof reference !== 'string') throw invalidSchema(`${path}/$ref`, 'a string', reference);
    if (!reference.startsWith('#')) {
      throw unsupported(
        `${path}/$ref`,
        `it refers to another document, ${JSON.stringify(reference)}`,
        'Copy what it refers to into $defs.',
      );
    }
    const pointer = decodePointer(reference.slice(1), path);
    if (pointer !== '' && !pointer.startsWith('/')) {
      throw unsupported(
        `${path}/$ref`,
        `it refers to an anchor, ${JSON.stringify(reference)}`,
        'Use a JSON Pointer such as #/$defs/name.',
      );
    }
    let target: unknown = this.#root;
    for (const part of pointer.split('/').slice(1)) {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
      target =
        typeof target === 'object' && target !== null && Object.hasOwn(target, key)
          ? (target as Record<string, unknown>)[key]
          : undefined;
    }
    if (target === undefined)
      throw invalidSchema(`${path}/$ref`, 'a reference to a schema of this document', reference);
    return this.node(target, `#${pointer}`);
  }
}

function decodePointer(pointer: string, path: SchemaPath): string {
  try {
    return decodeURIComponent(pointer);
  } catch {
    throw invalidSchema(`${path}/$ref`, 'a JSON Pointer', `#${pointer}`);
  }
}

/** A JSON pointer below `path`, RFC 6901. */
export function pathOf(path: SchemaPath, ...keys: readonly (string | number)[]): SchemaPath {
  return keys.reduce<string>(
    (whole, key) => `${whole}/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`,
    path,
  );
}
