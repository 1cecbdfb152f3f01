import { type Command, InvalidArgumentError, Option } from 'commander';
import type { GenerateOptions, LoadModelOptions } from 'scenebus';
import { demoModelDirectory } from '../platform/repository-files.js';

/** Options of every command that runs a model. */
export interface ModelCommandOptions {
  readonly model: string;
  readonly backend: NonNullable<LoadModelOptions['backend']>;
  readonly numerics: NonNullable<LoadModelOptions['numerics']>;
  readonly int4?: true;
  readonly acceptLlamaLicense?: true;
  readonly keyValueType?: LoadModelOptions['keyValueType'];
  readonly threads?: number;
  readonly cache?: string;
  readonly verbose?: true;
}

export function addModelOptions(command: Command): Command {
  return command
    .option('--model <directory>', 'model folder', demoModelDirectory())
    .addOption(
      new Option('--backend <name>', 'what runs the model')
        .choices(['auto', 'tensorrt', 'cpu', 'onnx'])
        .default('auto'),
    )
    .addOption(
      new Option('--numerics <name>', 'meta: as trained; the others reproduce releases of transformers')
        .choices(['meta', 'hf-4.45', 'hf-5'])
        .default('meta'),
    )
    .option('--int4', 'quantise the model first, into the cache folder, once')
    .option('--accept-llama-license', 'with --int4: you accept the licence of a model under the Llama licence')
    .addOption(
      new Option(
        '--key-value-type <type>',
        'numbers in the K/V caches of the cpu backend; int8: half the memory',
      ).choices(['f16', 'int8', 'f32']),
    )
    .option('--threads <count>', 'default: the physical cores', parseCount)
    .option('--cache <directory>', 'where prepared files are kept; default ~/.cache/scenebus')
    .option('--verbose', 'say what is done on the way');
}

/** How the answer is drawn; what is left out is as the SDK has it. */
export type SamplingOptions = Pick<
  GenerateOptions,
  'temperature' | 'topK' | 'topP' | 'minP' | 'repetitionPenalty' | 'seed'
>;

export function addSamplingOptions(command: Command): Command {
  const whole = numberThat('a whole number from 0', (value) => Number.isSafeInteger(value) && value >= 0);
  const upTo100 = numberThat('a number from 0 to 100', (value) => value >= 0 && value <= 100);
  const topP = numberThat('a number above 0, at most 1', (value) => value > 0 && value <= 1);
  const minP = numberThat('a number from 0 to 1', (value) => value >= 0 && value <= 1);
  const penalty = numberThat('a number above 0, at most 100', (value) => value > 0 && value <= 100);
  return command
    .option('--temperature <number>', '0: the likeliest answer, always the same; above: drawn (default: 0)', upTo100)
    .option('--top-k <count>', 'with a temperature: draw from so many of the likeliest tokens; 0: from all', whole)
    .option('--top-p <share>', 'with a temperature: draw from the likeliest tokens with this mass together', topP)
    .option('--min-p <share>', 'with a temperature: no token less likely than this share of the likeliest', minP)
    .option('--repetition-penalty <number>', 'above 1: what is there already becomes less likely, at 0 too', penalty)
    .option('--seed <number>', 'with a temperature: the same seed draws the same answer', whole);
}

/** Of a command's options those that the model takes. What would change nothing is told to `onWarning`. */
export function samplingOf(options: SamplingOptions, onWarning: (message: string) => void): SamplingOptions {
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = options;
  const drawn = { '--top-k': topK, '--top-p': topP, '--min-p': minP, '--seed': seed };
  const idle = Object.entries(drawn).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (!temperature && idle.length > 0)
    onWarning(`Without a --temperature above 0 nothing is drawn: ${idle.join(', ')} changes nothing.`);
  return { temperature, topK, topP, minP, repetitionPenalty, seed };
}

/** For commander. Not all that Number() takes: an empty word would be 0. */
function numberThat(expected: string, isValid: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d*\.?\d+(e-?\d+)?$/i.test(text) || !isValid(value)) throw new InvalidArgumentError(`Expected ${expected}.`);
    return value;
  };
}

/** For commander: a whole number of at least 1. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return value;
}

/** For commander: a number above 0. */
export function parsePositive(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('Expected a number above 0.');
  return value;
}
