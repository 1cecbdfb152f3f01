import type { Command } from 'commander';
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

interface AskOptions extends ModelCommandOptions, SamplingOptions {
  readonly json?: true;
  readonly maxTokens?: number;
  readonly verify?: true;
}

export function addAskCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('ask')
    .description('Ask a question about images, clips or what cameras see now')
    .usage('[options] <source...> <question>')
    .argument(
      '<source>',
      'image file, folder, pattern ("pictures/*.jpg"), - for an image on standard input, clip or camera address (0, /dev/video0, rtsp://…); several of them are asked about one after another',
    )
    // commander lets only the last argument be several: the question is the last of these.
    .argument('<question...>', 'in plain words; the last argument')
    .option('--max-tokens <count>', 'longest answer', parseCount)
    .option('--verify', 'ask the model about the cut-out of every box as well; each takes as long as a question')
    .option('--json', 'print the answer with its objects as JSON');
  addModelOptions(addSamplingOptions(command))
    .addHelpText(
      'after',
      examples(
        'scenebus ask photo.jpg "Where is the red cup?"',
        'scenebus ask left.jpg right.jpg "Is the door open?"',
        'scenebus ask rtsp://10.0.0.7/stream "Who is there?" --json',
      ),
    )
    .action(async (first: string, others: readonly string[], options: AskOptions) => {
      const { signal, terminal, stdin } = context;
      const names = [first, ...others.slice(0, -1)];
      const question = others.at(-1) ?? '';
      const [{ openSources }, { loadForCommand }] = await Promise.all([
        import('../source.js'),
        import('../load-for-command.js'),
      ]);
      const onWarning = (message: string) => terminal.note(message);
      const sampling = samplingOf(options, onWarning);
      await using sources = await openSources(names, { signal, stdin, onWarning });
      await using model = await loadForCommand(options, context);
      for await (const { name, image } of sources.pictures()) {
        const answer = await model.ask(image, question, {
          ...sampling,
          maxNewTokens: options.maxTokens,
          verify: options.verify === true,
          signal,
        });
        const output = { source: name, question, image, answer, model: model.info, asJson: options.json === true };
        printAnswer(output, terminal);
      }
    });
}
