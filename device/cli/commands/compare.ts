import { writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { TASK_NAMES, type TaskName } from '#calibration/evaluate/task-names.js';
import { type CommandContext, examples } from '../command-context.js';
import { addDataOptions, type DataOptions, dataOf } from '../data-options.js';
import { openEvaluatedModel, parseEvaluatedModel, SETTINGS_HELP } from '../evaluated-model.js';
import { createProgressReporter } from '../progress.js';

interface CompareOptions extends DataOptions {
  readonly task?: TaskName;
  readonly names?: string;
  readonly json?: true;
  readonly out?: string;
}

const ANSWERS = /\.jsonl$/i;

export function addCompareCommand(program: Command, context: CommandContext): void {
  const side = `model folder, behind commas also ${SETTINGS_HELP}; or the answers (.jsonl) of scenebus evaluate`;
  const command = program
    .command('compare')
    .description(
      'Compare two models, or two settings of one, on the same items: scores, intervals, tests, tokens, time',
    )
    .argument('<a>', side)
    .argument('<b>', 'the same');
  addDataOptions(command)
    .addOption(new Option('--task <name>', 'what is measured; answers know it themselves').choices(TASK_NAMES))
    .option('--names <a,b>', 'how the columns are called')
    .option('--json', 'print JSON; without it a table in Markdown')
    .option('--out <file>', 'write it there as well')
    .addHelpText(
      'after',
      examples(
        'scenebus compare models/float models/int4-awq --task docvqa --data val_v1.0_withQT.json --limit 500',
        'scenebus compare models/a,grounder=text models/a,grounder=attention --task refcoco --data "refs(unc).p" --images train2014',
        'scenebus compare a.jsonl b.jsonl --data test_human.json',
      ),
    )
    .action(async (a: string, b: string, options: CompareOptions) => {
      const { terminal } = context;
      const { compareAnswers, comparisonMarkdown } = await import('#calibration/evaluate/index.js');
      const files: string[] = [];
      for (const each of [a, b]) files.push(ANSWERS.test(each) ? each : await answersOf(each, options, context));
      const comparison = await compareAnswers(files[0]!, files[1]!, { data: dataOf(options), limit: options.limit });
      const [nameA = a, nameB = b] = options.names?.split(',') ?? [];
      const text = options.json ? JSON.stringify(comparison) : comparisonMarkdown(comparison, [nameA, nameB]);
      terminal.out(text);
      if (options.out !== undefined) await writeFile(options.out, `${text}\n`);
    });
}

/** The file of a model's answers, which are given now as far as they are not there. */
async function answersOf(text: string, options: CompareOptions, context: CommandContext): Promise<string> {
  const [{ evaluate }, { SdkError }] = await Promise.all([
    import('#calibration/evaluate/index.js'),
    import('scenebus'),
  ]);
  const { task, prompt, limit, batch } = options;
  if (task === undefined)
    throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected --task, which says what models are to be compared at.');
  const { terminal, signal } = context;
  const named = parseEvaluatedModel(text);
  await using opened = await openEvaluatedModel(named, options, context);
  using progress = createProgressReporter(terminal.stderr);
  const { results } = await evaluate(opened.model, {
    ...{ task, data: dataOf(options), prompt, limit, batch, settings: named.settings },
    ...{ onProgress: progress.onProgress, signal },
  });
  return results;
}
