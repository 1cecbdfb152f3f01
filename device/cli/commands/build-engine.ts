import { type Command, Option } from 'commander';
import type { EngineBuildOptions } from '../../platform/jetson/engine-build.js';
import { type CommandContext, examples } from '../command-context.js';
import { parseCount } from '../model-options.js';
import { createProgressReporter } from '../progress.js';

interface BuildEngineFlags {
  readonly context?: number;
  readonly mode: EngineBuildOptions['mode'];
  readonly cache?: string;
  readonly verbose?: true;
}

export function addBuildEngineCommand(program: Command, context: CommandContext): void {
  program
    .command('build-engine')
    .description('Build the TensorRT plans of a model on this device, so that a service starts at once')
    .argument('<model>', 'model folder; int4, or it will hardly fit (`scenebus quantize`)')
    .option('--context <tokens>', 'context length; default 4096', parseCount)
    .addOption(
      new Option('--mode <name>', 'plugin: own kernels; native: standard operators; auto: as the self-test allows')
        .choices(['auto', 'plugin', 'native'])
        .default('auto'),
    )
    .option('--cache <directory>', 'where graphs and plans are kept; default ~/.cache/scenebus')
    .option('--verbose', 'say what is done on the way')
    .addHelpText(
      'after',
      `\nSays what the model needs, part by part, and refuses what cannot fit. Plans fit the device, TensorRT version and\npower mode that they were built with; the first build takes long, later starts seconds.\n${examples('scenebus build-engine models/my-model-int4 --context 4096')}`,
    )
    .action(async (model: string, flags: BuildEngineFlags) => {
      const { terminal, signal } = context;
      const [{ buildEngine }, { createLogger }] = await Promise.all([
        import('../../platform/jetson/engine-build.js'),
        import('../logger.js'),
      ]);
      using progress = createProgressReporter(terminal.stderr);
      await buildEngine(
        {
          model,
          mode: flags.mode,
          contextLength: flags.context,
          cacheDirectory: flags.cache,
          onProgress: progress.onProgress,
          logger: createLogger(terminal, flags.verbose ? 'debug' : 'warn'),
          signal,
        },
        (line) => {
          progress.clear();
          terminal.out(line);
        },
      );
    });
}
