import type { Command } from 'commander';
import type { Answer } from 'scenebus';
import { printAnswer } from '../answer-output.js';
import { type CommandContext, examples } from '../command-context.js';
import {
  addModelOptions,
  addSamplingOptions,
  type ModelCommandOptions,
  parseCount,
  type SamplingOptions,
  samplingOf,
} from '../model-options.js';

interface DescribeOptions extends ModelCommandOptions, SamplingOptions {
  readonly frames?: number;
  readonly json?: true;
}

export function addDescribeCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('describe')
    .description('Describe images, the images of a folder, clips or what cameras see now')
    .argument(
      '<source...>',
      'image file, folder, pattern ("pictures/*.jpg"), - for an image on standard input, clip or camera address (0, /dev/video0, rtsp://…)',
    )
    .option('--frames <count>', 'pictures of each source to describe; default 1, for a folder all', parseCount)
    .option('--json', 'print one JSON object a picture');
  addModelOptions(addSamplingOptions(command))
    .addHelpText(
      'after',
      examples(
        'scenebus describe photo.jpg',
        'scenebus describe "pictures/*.jpg"',
        'scenebus describe 0 --frames 3 --json',
      ),
    )
    .action(async (names: readonly string[], options: DescribeOptions) => {
      const { signal, terminal, stdin } = context;
      const [{ openSources }, { loadForCommand }] = await Promise.all([
        import('../source.js'),
        import('../load-for-command.js'),
      ]);
      const onWarning = (message: string) => terminal.note(message);
      const sampling = samplingOf(options, onWarning);
      await using sources = await openSources(names, { count: options.frames, signal, stdin, onWarning });
      await using model = await loadForCommand(options, context);
      for await (const { name, image } of sources.pictures()) {
        const answer: Answer = await model.describe(image, { ...sampling, signal });
        printAnswer({ source: name, image, answer, model: model.info, asJson: options.json === true }, terminal);
      }
    });
}
