import { type Command, Option } from 'commander';
import type { QuantizeOptions } from '#calibration/quantize.js';
import { type CommandContext, examples } from '../command-context.js';
import { createLogger } from '../logger.js';
import { createProgressReporter } from '../progress.js';

interface QuantizeCommandOptions {
  readonly group: '32' | '64' | '128';
  readonly lmHead: NonNullable<QuantizeOptions['lmHead']>;
  readonly acceptLlamaLicense?: true;
}

export function addQuantizeCommand(program: Command, context: CommandContext): void {
  program
    .command('quantize')
    .description('Make an int4 model folder from a 16- or 32-bit one, by rounding to nearest')
    .argument('<source>', 'Hugging Face checkpoint folder; it is only read')
    .argument('<output>', 'folder to make')
    .addOption(new Option('--group <size>', 'weights that share a scale').choices(['32', '64', '128']).default('128'))
    .addOption(new Option('--lm-head <form>', 'the last layer').choices(['bf16', 'int4']).default('bf16'))
    .option('--accept-llama-license', 'you have read and accept the licence of a Llama model')
    .addHelpText('after', examples('scenebus quantize models/my-model models/my-model-int4 --group 64'))
    .action(async (source: string, output: string, options: QuantizeCommandOptions) => {
      const { terminal, signal } = context;
      const { quantizeCheckpoint } = await import('#calibration/quantize.js');
      using progress = createProgressReporter(terminal.stderr);
      const result = await quantizeCheckpoint({
        source,
        output,
        groupSize: Number(options.group) as NonNullable<QuantizeOptions['groupSize']>,
        lmHead: options.lmHead,
        acceptLlamaLicense: options.acceptLlamaLicense,
        onProgress: progress.onProgress,
        logger: createLogger(terminal, 'warn'),
        signal,
      });
      progress[Symbol.dispose]();
      const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
      terminal.out(
        `${result.directory}: ${megabytes(result.sourceBytes)} -> ${megabytes(result.sizeBytes)}, ` +
          `${result.quantizedLinears} linears in groups of ${result.groupSize}, ` +
          `relative error of their weights ${(100 * result.relativeError).toFixed(1)} %`,
      );
    });
}
