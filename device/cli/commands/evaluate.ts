import { Argument, type Command } from 'commander';
import type { Evaluation } from '#calibration/evaluate/index.js';
import { ABOUT_TASKS, TASK_NAMES, type TaskName } from '#calibration/evaluate/task-names.js';
import { demoModelDirectory } from '../../platform/repository-files.js';
import { type CommandContext, examples } from '../command-context.js';
import { addDataOptions, type DataOptions, dataOf } from '../data-options.js';
import { type EvaluatedModel, openEvaluatedModel, parseEvaluatedModel, SETTINGS_HELP } from '../evaluated-model.js';
import { createProgressReporter } from '../progress.js';
import type { Terminal } from '../terminal.js';

interface EvaluateOptions extends DataOptions {
  readonly model: EvaluatedModel;
  readonly grounder?: string;
  readonly results?: string;
  readonly json?: true;
}

export function addEvaluateCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('evaluate')
    .description('Measure a model on a public data set that you have, by its authors’ definitions')
    .addArgument(new Argument('<task>', 'what is measured').choices(TASK_NAMES));
  addDataOptions(command)
    .option<EvaluatedModel>(
      '--model <folder>',
      `model folder; behind commas also ${SETTINGS_HELP}`,
      parseEvaluatedModel,
      { folder: demoModelDirectory(), settings: {} },
    )
    .option('--grounder <name>', 'where boxes come from: text, attention, or the folder of an ONNX detector')
    .option(
      '--results <file>',
      'answers, a line for each item; a stopped run goes on there (default: in scenebus-results)',
    )
    .option('--json', 'print the scores as JSON')
    .addHelpText(
      'after',
      `\nTasks:\n${TASK_NAMES.map((name) => `  ${name.padEnd(8)} ${ABOUT_TASKS[name]}`).join('\n')}`,
    )
    .addHelpText(
      'after',
      examples(
        'scenebus evaluate docvqa --data val_v1.0_withQT.json --images spdocvqa_images --model models/llama-int4 --limit 500',
        'scenebus evaluate vqa --data v2_OpenEnded_mscoco_val2014_questions.json --annotations v2_mscoco_val2014_annotations.json --images val2014',
        'scenebus evaluate refcoco --data "refs(unc).p" --split testA --images train2014 --grounder attention',
      ),
    )
    .action(async (task: TaskName, options: EvaluateOptions) => {
      const { terminal, signal } = context;
      const { evaluate } = await import('#calibration/evaluate/index.js');
      const { grounder, model: named } = options;
      const settings = { ...named.settings, ...(grounder === undefined ? {} : { grounder }) };
      await using opened = await openEvaluatedModel({ ...named, settings }, options, context);
      using progress = createProgressReporter(terminal.stderr);
      const { prompt, limit, batch, results } = options;
      const evaluation = await evaluate(opened.model, {
        ...{ task, data: dataOf(options), prompt, limit, batch, settings, results },
        ...{ onProgress: progress.onProgress, signal },
      });
      progress[Symbol.dispose]();
      if (options.json) terminal.out(JSON.stringify(evaluation));
      else printEvaluation(evaluation, terminal);
    });
}

function printEvaluation(evaluation: Evaluation, terminal: Terminal): void {
  const { task, key, items, resumed, leftOut, scores, generatedTokens, seconds, results } = evaluation;
  terminal.out(`${task}, ${items} items: ${key.model.name}, ${key.engine.weights} weights on ${key.engine.backend}`);
  for (const [name, score] of Object.entries(scores))
    terminal.out(`  ${name.padEnd(20)} ${score === null ? 'nothing to measure it on' : score.toFixed(4)}`);
  terminal.out(`  ${generatedTokens} tokens written in ${seconds.toFixed(1)} s`);
  if (resumed > 0) terminal.note(`${resumed} of the answers are of an earlier run`);
  for (const [reason, count] of Object.entries(leftOut)) terminal.note(`left out: ${count} ${reason}`);
  terminal.note(`answers: ${results}`);
}
