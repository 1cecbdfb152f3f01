/** Every payload of the bus: validation, TypeScript types and JSON Schema from one source. */
import { z } from 'zod';
import { cameraStatusSchema, sceneSchema } from './camera.js';
import { SCHEMA_IDS, type SchemaName } from './common.js';
import { availabilitySchema, healthSchema, infoSchema } from './device.js';
import { askRequestSchema, responseSchema } from './requests.js';

export const busSchemas = {
  availability: availabilitySchema,
  info: infoSchema,
  health: healthSchema,
  cameraStatus: cameraStatusSchema,
  scene: sceneSchema,
  ask: askRequestSchema,
  response: responseSchema,
} as const satisfies Record<SchemaName, z.ZodType>;

/** JSON Schema (draft 2020-12) of one payload, for other languages and for AsyncAPI. */
export function busJsonSchema(name: SchemaName): z.core.JSONSchema.BaseSchema {
  return { $id: `urn:${SCHEMA_IDS[name].replace('/', ':')}`, ...z.toJSONSchema(busSchemas[name], { io: 'input' }) };
}

export * from './camera.js';
export { BOX_CONVENTION, SCHEMA_IDS, type SchemaName } from './common.js';
export * from './device.js';
export * from './requests.js';
