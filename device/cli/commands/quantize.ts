import { type Command, Option } from 'commander';
import { quantizeCheckpoint } from '#calibration/quantize.js';
import { formatQuantizeResult, type QuantizeFlags, quantizeOptionsFrom } from '#calibration/quantize-cli.js';
import { type CommandContext, examples } from '../command-context.js';
import { createLogger } from '../logger.js';
import { createProgressReporter } from '../progress.js';

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
    .action(async (source: string, output: string, flags: QuantizeFlags) => {
      const { terminal, signal } = context;
      const options = quantizeOptionsFrom(source, output, flags);
      using progress = createProgressReporter(terminal.stderr);
      const logger = createLogger(terminal, 'warn');
      const result = await quantizeCheckpoint({ ...options, onProgress: progress.onProgress, logger, signal });
      progress[Symbol.dispose]();
      terminal.out(formatQuantizeResult(result));
    });
}
