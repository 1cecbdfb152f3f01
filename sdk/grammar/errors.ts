/** What is refused, and how it is said. */
import { SdkError } from '../core/errors.js';

/** A JSON Pointer into the schema, `#/properties/age`. */
export type SchemaPath = string;

/** ERR_SCHEMA_UNSUPPORTED: valid JSON Schema, which no mask of tokens can enforce. */
export function unsupported(path: SchemaPath, what: string, remedy: string): SdkError {
  return new SdkError(
    'ERR_SCHEMA_UNSUPPORTED',
    `The schema cannot be enforced exactly at ${path}: ${what}. ${remedy}`,
    {
      details: { path, reason: what },
    },
  );
}

/** ERR_SCHEMA_INVALID: not JSON Schema. */
export function invalidSchema(path: SchemaPath, expected: string, received: unknown): SdkError {
  const shown = JSON.stringify(received)?.slice(0, 80) ?? String(received);
  return new SdkError('ERR_SCHEMA_INVALID', `Expected ${expected} at ${path} of the schema but received ${shown}.`, {
    details: { path },
  });
}

/** ERR_LIMIT_EXCEEDED: more states or time than a schema may cost. */
export function tooComplex(what: string): SdkError {
  return new SdkError('ERR_LIMIT_EXCEEDED', `The schema needs ${what}. Use shorter bounds, patterns or enumerations.`, {
    details: { what },
  });
}
