import { type Command, Option } from 'commander';
import type { VerifyOptions } from '#calibration/verify/index.js';
import { type CommandContext, examples } from '../command-context.js';
import { EXIT_CODES } from '../exit-codes.js';
import { parsePositive } from '../model-options.js';
import { createProgressReporter } from '../progress.js';

interface VerifyCommandOptions {
  readonly checkpoint: string;
  readonly cases: string;
  readonly numerics: NonNullable<VerifyOptions['mainNumerics']>;
  readonly tolerance: number;
  readonly cache?: string;
  readonly json?: true;
}

export function addVerifyCommand(program: Command, context: CommandContext): void {
  program
    .command('verify')
    .description('Compare this product with recorded results of a reference implementation, tensor by tensor')
    .requiredOption('--checkpoint <directory>', 'model folder')
    .requiredOption('--cases <directory>', 'golden folder: layout in test/fixtures/golden/README.md')
    .addOption(
      new Option('--numerics <name>', 'what the main tensors were made with')
        .choices(['hf-4.45', 'hf-5'])
        .default('hf-4.45'),
    )
    .option('--tolerance <value>', 'largest allowed difference of any value', parsePositive, 1e-4)
    .option('--cache <directory>', 'where prepared files are kept; default ~/.cache/scenebus')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', examples('scenebus verify --checkpoint models/tiny-a --cases golden/cases-tiny-a'))
    .action(async (options: VerifyCommandOptions) => {
      const { terminal, signal } = context;
      const { formatVerifyReport, verifyCheckpoint } = await import('#calibration/verify/index.js');
      using progress = createProgressReporter(terminal.stderr);
      const report = await verifyCheckpoint({
        checkpointDir: options.checkpoint,
        casesDir: options.cases,
        mainNumerics: options.numerics,
        tolerance: options.tolerance,
        cacheDirectory: options.cache,
        onProgress: progress.onProgress,
        signal,
      });
      progress[Symbol.dispose]();
      terminal.out(options.json ? JSON.stringify(report) : formatVerifyReport(report));
      if (!report.passed) context.setExitCode(EXIT_CODES.failed);
    });
}
