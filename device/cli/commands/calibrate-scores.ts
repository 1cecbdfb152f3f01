import { type Command, Option } from 'commander';
import type { LoadModelOptions } from 'scenebus';
import type { BeforeAndAfter, Localisation, ScoreCalibration, SearchRates } from '#calibration/scores/index.js';
import { type CommandContext, examples } from '../command-context.js';
import { parseCount } from '../model-options.js';
import { createProgressReporter } from '../progress.js';
import type { Terminal } from '../terminal.js';

interface CalibrateScoresCommandOptions {
  readonly data: string;
  readonly scenes?: number;
  readonly report?: string;
  readonly records?: string;
  readonly dryRun?: true;
  readonly grounder?: ('text' | 'attention')[];
  readonly detector?: string;
  readonly backend: NonNullable<LoadModelOptions['backend']>;
  readonly threads?: number;
  readonly cache?: string;
  readonly json?: true;
}

export function addCalibrateScoresCommand(program: Command, context: CommandContext): void {
  program
    .command('calibrate-scores')
    .description(
      'Measure how often a model and a detector are right at each score, and keep in their folders how scores become probabilities',
    )
    .argument('<model>', 'model folder; its scenebus.json gets the result, of a detector detector.json')
    .requiredOption(
      '--data <folder>',
      'pictures and scenes.jsonl, a line each: {"image": "a.jpg", "objects": [{"label": "red cup", "box": [x1, y1, x2, y2]}]}, boxes from 0 to 1',
    )
    .option('--scenes <count>', 'use so many; half of them are only for judging', parseCount)
    .option('--report <folder>', 'write reliability diagrams (PNG) and reliability.json there')
    .option('--records <file>', 'keep there what was found out; a run that was stopped goes on')
    .option('--dry-run', 'write nothing into the folders')
    .addOption(
      new Option('--grounder <name...>', 'measure boxes of these; several are measured side by side').choices([
        'text',
        'attention',
      ]),
    )
    .option('--detector <folder>', 'measure boxes of an ONNX detector too; its detector.json gets its scaling')
    .addOption(
      new Option('--backend <name>', 'what runs the model')
        .choices(['auto', 'tensorrt', 'cpu', 'onnx'])
        .default('auto'),
    )
    .option('--threads <count>', 'default: the physical cores', parseCount)
    .option('--cache <directory>', 'where prepared files are kept; default ~/.cache/scenebus')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', examples('scenebus calibrate-scores models/my-model --data pictures --report reliability'))
    .action(async (directory: string, options: CalibrateScoresCommandOptions) => {
      const { terminal, signal } = context;
      const { calibrateScores } = await import('#calibration/scores/index.js');
      using progress = createProgressReporter(terminal.stderr);
      const { data, scenes, report: reportFolder, records, backend, threads, cache: cacheDirectory } = options;
      const { grounder, detector } = options;
      const result = await calibrateScores({
        ...{ directory, data, scenes, reportFolder, records, detector, keep: options.dryRun !== true },
        model: { backend, threads, cacheDirectory, ...(grounder === undefined ? {} : { grounder }) },
        onProgress: progress.onProgress,
        signal,
      });
      progress[Symbol.dispose]();
      if (options.json) terminal.out(JSON.stringify(result));
      else printResult(result, terminal);
    });
}

function printResult({ report, scalings }: ScoreCalibration, terminal: Terminal): void {
  for (const name of Object.keys(report.sources)) {
    if (!(name in scalings.boxes))
      terminal.note(`${name}: too few boxes to know what scores are worth; they stay as they are`);
  }
  terminal.out(`judged by ${report.scenes} scenes that the scalings were not fitted to`);
  for (const [name, pair] of Object.entries(report.reliability)) terminal.out(`  ${errorLine(name, pair)}`);
  const { unverified, verified, atRecall95 } = report.searches;
  for (const [name, { unverified, verified, atRecall95, verifiedAtRecall95 }] of Object.entries(report.sources)) {
    terminal.out(`${name}: ${localisationLine(unverified)}`);
    terminal.out(`  verified: ${localisationLine(verified)}`);
    terminal.out(`  keeping 95 % of the right boxes: ${ratesLine(atRecall95)}`);
    terminal.out(`  the same, verified: ${ratesLine(verifiedAtRecall95)}`);
  }
  terminal.out(`boxes for what is not there: ${ratesLine(unverified)}`);
  terminal.out(`  verified: ${ratesLine(verified)}`);
  terminal.out(`  with a score of at least ${atRecall95.leastScore.toFixed(3)}: ${ratesLine(atRecall95)}`);
}

function errorLine(name: string, { before, after }: BeforeAndAfter): string {
  const error = ({ expectedCalibrationError }: BeforeAndAfter['before']) => expectedCalibrationError.toFixed(4);
  return `${name}: expected calibration error ${error(before)} before, ${error(after)} after (${after.count} claims)`;
}

function localisationLine({ pointing, half, meanOverlap, searches }: Localisation): string {
  const shares = `points at it ${pointing.toFixed(3)}, IoU ≥ 0.5 ${half.toFixed(3)}, mean IoU ${meanOverlap.toFixed(3)}`;
  return `${shares}; for what is not there ${ratesLine(searches)}`;
}

function ratesLine({ falseAlarms, recall, absent, present }: SearchRates): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return `${percent(falseAlarms)} of ${absent}; found of what is there: ${percent(recall)} of ${present}`;
}
