import type { Command } from 'commander';
import type { Answer } from 'scenebus';
import { printAnswer } from '../answer-output.js';
import { type CommandContext, examples } from '../command-context.js';
import { addModelOptions, loadForCommand, type ModelCommandOptions, parseCount } from '../model-options.js';
import { readSource } from '../source.js';

interface DescribeOptions extends ModelCommandOptions {
  readonly frames?: number;
  readonly json?: true;
}

export function addDescribeCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('describe')
    .description('Describe an image, the images of a folder, a clip or what a camera sees now')
    .argument('<source>', 'image file, folder, clip or camera address (0, /dev/video0, rtsp://…)')
    .option('--frames <count>', 'pictures to describe; default 1, for a folder all', parseCount)
    .option('--json', 'print one JSON object a picture');
  addModelOptions(command)
    .addHelpText('after', examples('scenebus describe photo.jpg', 'scenebus describe 0 --frames 3 --json'))
    .action(async (source: string, options: DescribeOptions) => {
      const { signal } = context;
      await using model = await loadForCommand(options, context);
      for await (const { name, image } of readSource(source, {
        count: options.frames,
        signal,
        onWarning: (message) => context.terminal.note(message),
      })) {
        const answer: Answer = await model.describe(image, { signal });
        printAnswer(
          { source: name, image, answer, model: model.info, asJson: options.json === true },
          context.terminal,
        );
      }
    });
}
