import { loadModel, type VisionLanguageModel } from 'scenebus';
import { int4Folder } from '../app/int4-cache.js';
import type { CommandContext } from './command-context.js';
import { createLogger } from './logger.js';
import type { ModelCommandOptions } from './model-options.js';
import { createProgressReporter } from './progress.js';

/** Loads the model with progress on stderr. */
export async function loadForCommand(
  options: ModelCommandOptions,
  { terminal, signal }: CommandContext,
): Promise<VisionLanguageModel> {
  using progress = createProgressReporter(terminal.stderr);
  const shared = {
    cacheDirectory: options.cache,
    logger: createLogger(terminal, options.verbose ? 'debug' : 'warn'),
    onProgress: progress.onProgress,
    signal,
  };
  const directory = options.int4
    ? await int4Folder(options.model, { ...shared, acceptLlamaLicense: options.acceptLlamaLicense })
    : options.model;
  const { backend, numerics, keyValueType, threads } = options;
  return await loadModel(directory, { backend, numerics, keyValueType, threads, ...shared });
}
