import type { Command } from 'commander';
import { printAnswer } from '../answer-output.js';
import { type CommandContext, examples } from '../command-context.js';
import { addModelOptions, loadForCommand, type ModelCommandOptions, parseCount } from '../model-options.js';
import { readSource } from '../source.js';

interface AskOptions extends ModelCommandOptions {
  readonly json?: true;
  readonly maxTokens?: number;
}

export function addAskCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('ask')
    .description('Ask a question about an image, a clip or what a camera sees now')
    .argument('<source>', 'image file, folder, clip or camera address (0, /dev/video0, rtsp://…)')
    .argument('<question>', 'in plain words')
    .option('--max-tokens <count>', 'longest answer', parseCount)
    .option('--json', 'print the answer with its objects as JSON');
  addModelOptions(command)
    .addHelpText(
      'after',
      examples(
        'scenebus ask photo.jpg "Where is the red cup?"',
        'scenebus ask rtsp://10.0.0.7/stream "Who is there?" --json',
      ),
    )
    .action(async (source: string, question: string, options: AskOptions) => {
      const { signal } = context;
      await using model = await loadForCommand(options, context);
      for await (const { name, image } of readSource(source, {
        signal,
        onWarning: (message) => context.terminal.note(message),
      })) {
        const answer = await model.ask(image, question, { maxNewTokens: options.maxTokens, signal });
        const output = { source: name, question, image, answer, model: model.info, asJson: options.json === true };
        printAnswer(output, context.terminal);
      }
    });
}
