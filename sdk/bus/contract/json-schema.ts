/** The contract as JSON Schema, for other languages, for AsyncAPI and for the reference. */
import { z } from 'zod';
import { busSchemas, SCHEMA_IDS, type SchemaName } from './schemas/index.js';

export type JsonSchema = z.core.JSONSchema.BaseSchema;
export type JsonSchemaDialect = 'draft-2020-12' | 'draft-7';

/**
 * JSON Schema of one payload.
 *
 * What devices publish may gain fields within a version, so there the objects are open; requests are closed, because a
 * device refuses fields that it does not know.
 */
export function busJsonSchema(name: SchemaName, dialect: JsonSchemaDialect = 'draft-2020-12'): JsonSchema {
  const id = `urn:${SCHEMA_IDS[name].replace('.', ':').replace('/', ':')}`;
  return { $id: id, ...jsonSchemaOf(busSchemas[name], { dialect, isOpen: !isRequest(name) }) };
}

/** Every payload, by name. */
export function busJsonSchemas(): ReadonlyMap<SchemaName, JsonSchema> {
  return new Map((Object.keys(SCHEMA_IDS) as SchemaName[]).map((name) => [name, busJsonSchema(name)]));
}

/** JSON Schema of what is sent under a zod schema; `isOpen` admits fields that a newer version may add. */
export function jsonSchemaOf(
  schema: z.ZodType,
  { dialect, isOpen }: { readonly dialect: JsonSchemaDialect; readonly isOpen: boolean },
): JsonSchema {
  return z.toJSONSchema(schema, {
    io: 'input',
    target: dialect,
    override: ({ jsonSchema }) => {
      if (isOpen && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      // Validators in strict mode refuse formats that they do not know; the pattern beside it says the same.
      if (jsonSchema.pattern !== undefined) delete jsonSchema.format;
    },
  });
}

/** Names of what callers send. */
const REQUESTS: ReadonlySet<SchemaName> = new Set<SchemaName>([
  'settingCommand',
  'ask',
  'describe',
  'locate',
  'snapshot',
  'find',
  'healthRequest',
  'watchAdd',
  'watchChange',
  'watchRemove',
  'watchList',
  'groupCall',
  'rollCall',
]);

/** Whether callers send it, and not devices. */
function isRequest(name: SchemaName): boolean {
  return REQUESTS.has(name);
}
