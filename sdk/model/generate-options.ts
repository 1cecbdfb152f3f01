import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { refuseUnknownOptions } from '../core/option-names.js';
import { type AnswerSchema, answerSchema, type LengthUnit } from '../grammar/index.js';
import type { PenaltyOptions } from '../inference/penalties.js';
import { PRIORITIES, type Priority } from '../inference/priority.js';
import type { SamplingOptions } from '../inference/sampling.js';
import type { TokenMask } from '../inference/token-mask.js';
import type { GenerateOptions } from './types.js';

/** What the rest of the SDK may ask beyond what callers may. */
export interface InternalGenerateOptions extends GenerateOptions {
  /** Made when the generation begins: restricts every token that is written. */
  readonly createMask?: (() => TokenMask) | undefined;
  /** What lengths of strings count in a JSON Schema that zod wrote, when zod itself is in another process. */
  readonly schemaLengths?: LengthUnit | undefined;
}

const DEFAULT_MAX_NEW_TOKENS = 512;
/** Tokens that a place in an answer is told of, besides the one that was written. */
const MOST_LIKELIEST = 20;

const OPTIONS = {
  signal: true,
  maxNewTokens: true,
  temperature: true,
  topP: true,
  topK: true,
  minP: true,
  repetitionPenalty: true,
  presencePenalty: true,
  frequencyPenalty: true,
  noRepeatNgramSize: true,
  seed: true,
  stop: true,
  drafting: true,
  priority: true,
  caller: true,
  deadlineMs: true,
  createMask: true,
  schema: true,
  schemaFrom: true,
  schemaLengths: true,
  verify: true,
  heatMap: true,
  logProbabilities: true,
} satisfies Record<keyof InternalGenerateOptions, true>;

/** The longest that a timer of Node takes, nearly 25 days. */
const MAX_DEADLINE_MS = 2 ** 31 - 1;

/** Sampling as the checkpoint's authors want it (generation_config.json). */
export interface SamplingDefaults {
  readonly doSample: boolean;
  readonly temperature: number;
  readonly topP: number;
  readonly topK?: number | undefined;
  readonly minP?: number | undefined;
  readonly repetitionPenalty?: number | undefined;
  readonly noRepeatNgramSize?: number | undefined;
  /** Boxes are verified unless a request says otherwise. */
  readonly verify?: boolean | undefined;
  readonly maxNewTokens?: number | undefined;
}

export interface ResolvedOptions extends SamplingOptions, PenaltyOptions {
  readonly maxNewTokens: number;
  readonly seed: number;
  readonly stop: readonly string[];
  /** Guessed tokens may be verified several at once. */
  readonly drafting: boolean;
  readonly priority: Priority;
  readonly caller: string;
  readonly deadlineMs: number | undefined;
  readonly createMask: (() => TokenMask) | undefined;
  readonly schema: AnswerSchema | undefined;
  readonly schemaFrom: 'caller' | 'stranger';
  readonly verify: boolean;
  readonly heatMap: boolean;
  readonly logProbabilities: number | undefined;
}

/** @throws SdkError ERR_ARGUMENT_INVALID naming the option, ERR_LIMIT_EXCEEDED for too many or too long stop strings; as `answerSchema` */
export function resolveOptions(options: InternalGenerateOptions, defaults: SamplingDefaults): ResolvedOptions {
  refuseUnknownOptions(options, Object.keys(OPTIONS), 'a generation');
  const maxNewTokens = options.maxNewTokens ?? defaults.maxNewTokens ?? DEFAULT_MAX_NEW_TOKENS;
  const temperature = options.temperature ?? (defaults.doSample ? defaults.temperature : 0);
  const topP = options.topP ?? defaults.topP;
  const topK = options.topK ?? defaults.topK ?? 0;
  const minP = options.minP ?? defaults.minP ?? 0;
  const repetitionPenalty = options.repetitionPenalty ?? defaults.repetitionPenalty ?? 1;
  const presencePenalty = options.presencePenalty ?? 0;
  const frequencyPenalty = options.frequencyPenalty ?? 0;
  const noRepeatNgramSize = options.noRepeatNgramSize ?? defaults.noRepeatNgramSize ?? 0;
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
  check('maxNewTokens', maxNewTokens, 'a whole number from 1', Number.isInteger(maxNewTokens) && maxNewTokens >= 1);
  check(
    'temperature',
    temperature,
    'a number from 0 to 100',
    isNumber(temperature) && temperature >= 0 && temperature <= 100,
  );
  check('topP', topP, 'a number above 0, at most 1', isNumber(topP) && topP > 0 && topP <= 1);
  check('topK', topK, 'a whole number from 0', Number.isSafeInteger(topK) && topK >= 0);
  check('minP', minP, 'a number from 0 to 1', isNumber(minP) && minP >= 0 && minP <= 1);
  const repetition = isNumber(repetitionPenalty) && repetitionPenalty > 0 && repetitionPenalty <= 100;
  check('repetitionPenalty', repetitionPenalty, 'a number above 0, at most 100', repetition);
  for (const [name, penalty] of Object.entries({ presencePenalty, frequencyPenalty })) {
    check(name, penalty, 'a number from -2 to 2', isNumber(penalty) && penalty >= -2 && penalty <= 2);
  }
  const ngram = Number.isInteger(noRepeatNgramSize) && noRepeatNgramSize >= 0 && noRepeatNgramSize <= 1000;
  check('noRepeatNgramSize', noRepeatNgramSize, 'a whole number from 0 to 1000', ngram);
  check('seed', seed, 'a whole number from 0', Number.isSafeInteger(seed) && seed >= 0);
  const drafting = options.drafting ?? 'auto';
  check('drafting', drafting, '"auto" or "off"', drafting === 'auto' || drafting === 'off');
  const { priority = 'question', caller = '', deadlineMs, createMask } = options;
  check(
    'priority',
    priority,
    '"question", "watch" or "description"',
    (PRIORITIES as readonly unknown[]).includes(priority),
  );
  const isName = typeof caller === 'string' && caller.length <= LIMITS.callerCharacters;
  check('caller', caller, `a string of at most ${LIMITS.callerCharacters} characters`, isName);
  const isTime = deadlineMs === undefined || (isNumber(deadlineMs) && deadlineMs > 0 && deadlineMs <= MAX_DEADLINE_MS);
  check('deadlineMs', deadlineMs, `a number above 0, at most ${MAX_DEADLINE_MS}`, isTime);
  const { schema, schemaFrom = 'caller', schemaLengths } = options;
  check('schemaFrom', schemaFrom, '"caller" or "stranger"', schemaFrom === 'caller' || schemaFrom === 'stranger');
  const { verify = defaults.verify ?? false } = options;
  check('verify', verify, 'true or false', typeof verify === 'boolean');
  const { heatMap = false } = options;
  check('heatMap', heatMap, 'true or false', typeof heatMap === 'boolean');
  const { logProbabilities } = options;
  const isCount = Number.isInteger(logProbabilities) && logProbabilities! >= 0 && logProbabilities! <= MOST_LIKELIEST;
  const expected = `a whole number from 0 to ${MOST_LIKELIEST}`;
  check('logProbabilities', logProbabilities, expected, logProbabilities === undefined || isCount);
  const stop = stopStrings(options.stop);
  if (schema !== undefined)
    check('stop', stop, 'no stop strings beside a schema, which they would cut', stop.length === 0);
  return {
    schema: schema === undefined ? undefined : answerSchema(schema, schemaLengths),
    schemaFrom,
    verify,
    heatMap,
    logProbabilities,
    priority,
    caller,
    deadlineMs,
    createMask,
    maxNewTokens,
    temperature,
    topP,
    topK,
    minP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    noRepeatNgramSize,
    seed,
    stop,
    drafting: drafting === 'auto' && temperature === 0,
  };
}

function stopStrings(stop: GenerateOptions['stop']): readonly string[] {
  const stops = stop === undefined ? [] : typeof stop === 'string' ? [stop] : stop;
  const valid = Array.isArray(stops) && stops.every((each) => typeof each === 'string' && each !== '');
  check('stop', stop, 'a string or strings, none of them empty', valid);
  const longest = Math.max(0, ...stops.map((each) => each.length));
  if (stops.length > LIMITS.stopStrings || longest > LIMITS.stopStringCharacters) {
    throw new SdkError(
      'ERR_LIMIT_EXCEEDED',
      `Expected at most ${LIMITS.stopStrings} stop strings of at most ${LIMITS.stopStringCharacters} characters but received ${stops.length}, the longest of ${longest}.`,
    );
  }
  return [...stops];
}

/** Strings would pass comparisons. */
function isNumber(value: unknown): boolean {
  return typeof value === 'number';
}

function check(name: string, value: unknown, expected: string, valid: boolean): void {
  if (valid) return;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected ${expected} for ${name} but received ${JSON.stringify(value) ?? 'nothing'}.`,
    {
      details: { option: name },
    },
  );
}
