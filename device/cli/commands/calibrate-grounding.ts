import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LoadModelOptions } from 'scenebus';
import type { GroundingCalibration } from '#calibration/grounding/index.js';
import { type CommandContext, examples } from '../command-context.js';
import { parseCount } from '../model-options.js';
import { createProgressReporter } from '../progress.js';
import type { Terminal } from '../terminal.js';

interface CalibrateGroundingCommandOptions {
  readonly data?: string;
  readonly pictures?: number;
  readonly heads?: number;
  readonly exclude?: readonly { readonly layer: number; readonly head: number }[];
  readonly dryRun?: true;
  readonly backend: NonNullable<LoadModelOptions['backend']>;
  readonly threads?: number;
  readonly cache?: string;
  readonly json?: true;
}

export function addCalibrateGroundingCommand(program: Command, context: CommandContext): void {
  program
    .command('calibrate-grounding')
    .description(
      'Find the heads of a model that look at what is asked for, and keep them in its folder: boxes by attention',
    )
    .argument('<model>', 'model folder; its scenebus.json gets the heads')
    .option(
      '--data <folder>',
      'pictures and scenes.jsonl, as for calibrate-scores; default: simple things that are drawn',
    )
    .option('--pictures <count>', 'use so many; half of them are only for judging (64)', parseCount)
    .option('--heads <count>', 'keep at most so many, up to 16 (4)', parseCount)
    .option('--exclude <heads>', 'heads that are not to be taken, as LAYER:HEAD,…', parseHeads)
    .option('--dry-run', 'write nothing into the model folder')
    .addOption(new Option('--backend <name>', 'what runs the model').choices(['auto', 'cpu', 'onnx']).default('auto'))
    .option('--threads <count>', 'default: the physical cores', parseCount)
    .option('--cache <directory>', 'where prepared files are kept; default ~/.cache/scenebus')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', examples('scenebus calibrate-grounding models/my-model --data pictures'))
    .action(async (directory: string, options: CalibrateGroundingCommandOptions) => {
      const { terminal, signal } = context;
      const { calibrateGrounding } = await import('#calibration/grounding/index.js');
      using progress = createProgressReporter(terminal.stderr);
      const { data, pictures, heads, exclude, backend, threads, cache: cacheDirectory } = options;
      const result = await calibrateGrounding({
        ...{ directory, data, pictures, heads, exclude, keep: options.dryRun !== true },
        model: { backend, threads, cacheDirectory },
        onProgress: progress.onProgress,
        signal,
      });
      progress[Symbol.dispose]();
      if (options.json) terminal.out(JSON.stringify(result));
      else printResult(result, terminal);
    });
}

function parseHeads(text: string): { layer: number; head: number }[] {
  return text.split(',').map((each) => {
    const match = /^(\d{1,4}):(\d{1,4})$/.exec(each.trim());
    if (match === null) throw new InvalidArgumentError('Expected LAYER:HEAD, such as 13:5,18:0.');
    return { layer: Number(match[1]), head: Number(match[2]) };
  });
}

function printResult({ attention, heads, rates }: GroundingCalibration, terminal: Terminal): void {
  terminal.out('layer head  on patches  concentrated  told apart  score');
  for (const { layer, head, mass, concentration, contrast, score } of heads.slice(0, 12)) {
    const isTaken = attention.heads.some((each) => each.layer === layer && each.head === head);
    const [a, b, c, d] = [mass, concentration, contrast, score].map((value) => value.toFixed(3));
    terminal.out(
      `${String(layer).padStart(5)} ${String(head).padStart(4)}  ${a!.padStart(10)}  ${b!.padStart(12)}  ${c!.padStart(10)}  ${d}${isTaken ? '  taken' : ''}`,
    );
  }
  const { pointing, half, falseAlarms, present, absent } = rates;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  terminal.out(
    `judged by pictures that nothing was fitted to: peak inside ${percent(pointing)}, IoU ≥ 0.5 ${percent(half)} of ${present};`,
  );
  terminal.out(`  boxes for what is not there: ${percent(falseAlarms)} of ${absent}`);
}
