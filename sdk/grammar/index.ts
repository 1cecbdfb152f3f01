export { AnswerGrammars, checkAnswerSchema, type PreparedSchema, SchemaMask } from './answer-grammars.js';
export { type AnswerSchema, answerSchema, type SchemaInput, type ValueOf, type ZodLike } from './answer-schema.js';
export type { LengthUnit } from './automata/dfa.js';
export type { JsonSchema, JsonValue } from './schema/json-schema.js';
