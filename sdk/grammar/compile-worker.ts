/** The thread in which strangers' schemas are compiled: it can be stopped, and its memory is bounded. */
import { parentPort, workerData } from 'node:worker_threads';
import { serializeError } from '../core/errors.js';
import type { LengthUnit } from './automata/dfa.js';
import { compileGrammar } from './rules.js';
import type { JsonSchema } from './schema/json-schema.js';

/** What the worker thread is started with. */
export interface CompileRequest {
  readonly schema: JsonSchema;
  readonly lengthUnit: LengthUnit;
}

const { schema, lengthUnit } = workerData as CompileRequest;
try {
  parentPort!.postMessage({ grammar: compileGrammar(schema, lengthUnit) });
} catch (error) {
  const code = error instanceof RangeError ? 'ERR_LIMIT_EXCEEDED' : 'ERR_SCHEMA_INVALID';
  parentPort!.postMessage({ error: serializeError(error, code) });
}
