import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LoadModelOptions } from 'scenebus';
import { demoModelDirectory } from '../platform/repository-files.js';

/** Options of every command that runs a model. */
export interface ModelCommandOptions {
  readonly model: string;
  readonly backend: NonNullable<LoadModelOptions['backend']>;
  readonly numerics: NonNullable<LoadModelOptions['numerics']>;
  readonly int4?: true;
  readonly acceptLlamaLicense?: true;
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
    .option('--threads <count>', 'default: the physical cores', parseCount)
    .option('--cache <directory>', 'where prepared files are kept; default ~/.cache/scenebus')
    .option('--verbose', 'say what is done on the way');
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
