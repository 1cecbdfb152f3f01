/** A model to be measured, with what was chosen of it: `models/a,grounder=attention,backend=onnx`. */
import { InvalidArgumentError } from 'commander';
import type { DetectorGrounder, GrounderChoice, LoadModelOptions, VisionLanguageModel } from 'scenebus';
import type { CommandContext } from './command-context.js';
import { createProgressReporter } from './progress.js';

const CHOICES = {
  backend: ['auto', 'tensorrt', 'cpu', 'onnx'],
  numerics: ['meta', 'hf-4.45', 'hf-5'],
  vision: ['auto', 'full', 'int8'],
  keyValueType: ['f32', 'f16', 'int8'],
} as const;

/** What can stand behind the folder, with its values. */
export const SETTINGS_HELP = `grounder=text|attention|FOLDER (an ONNX detector's), ${Object.entries(CHOICES)
  .map(([name, values]) => `${name}=${values.join('|')}`)
  .join(', ')}`;

export interface EvaluatedModel {
  readonly folder: string;
  readonly settings: Readonly<Record<string, string>>;
}

/** For commander. */
export function parseEvaluatedModel(text: string): EvaluatedModel {
  const [folder = '', ...pairs] = text.split(',');
  if (folder === '') throw new InvalidArgumentError('Expected a model folder.');
  const settings: Record<string, string> = {};
  for (const pair of pairs) {
    const [, name = '', value = ''] = /^(\w+)=(.+)$/.exec(pair) ?? [];
    const values: readonly string[] | undefined = name === 'grounder' ? [value] : CHOICES[name as keyof typeof CHOICES];
    if (values === undefined || !Object.hasOwn({ ...CHOICES, grounder: true }, name) || !values.includes(value))
      throw new InvalidArgumentError(`Expected settings of the model, ${SETTINGS_HELP}; but found ${pair}.`);
    settings[name] = value;
  }
  return { folder, settings };
}

export interface OpenedModel extends AsyncDisposable {
  readonly model: VisionLanguageModel;
}

export async function openEvaluatedModel(
  { folder, settings }: EvaluatedModel,
  { threads, cache }: { readonly threads?: number | undefined; readonly cache?: string | undefined },
  { terminal, signal }: CommandContext,
): Promise<OpenedModel> {
  const [{ loadModel, openDetector }, { createLogger }] = await Promise.all([
    import('scenebus'),
    import('./logger.js'),
  ]);
  using progress = createProgressReporter(terminal.stderr);
  const { grounder, vision, ...others } = settings;
  let detector: DetectorGrounder | undefined;
  let choice: GrounderChoice | undefined;
  if (grounder === 'text' || grounder === 'attention') choice = grounder;
  else if (grounder !== undefined) choice = detector = await openDetector(grounder, { signal });
  try {
    const model = await loadModel(folder, {
      ...(others as LoadModelOptions),
      ...(vision === undefined
        ? {}
        : { vision: vision === 'int8' ? { precision: vision } : (vision as 'auto' | 'full') }),
      ...(choice === undefined ? {} : { grounder: choice }),
      ...{ threads, cacheDirectory: cache, logger: createLogger(terminal, 'warn') },
      ...{ onProgress: progress.onProgress, signal },
    });
    const dispose = async () => {
      await model[Symbol.asyncDispose]();
      await detector?.[Symbol.asyncDispose]();
    };
    return { model, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await detector?.[Symbol.asyncDispose]();
    throw error;
  }
}
