import { type Command, Option } from 'commander';
import type { QuantizeFlags } from '#calibration/quantize/index.js';
import { MAX_QUESTIONS, MAX_SCENES, SOURCE_FORMATS } from '#calibration/quantize/option-values.js';
import { type CommandContext, examples } from '../command-context.js';
import { createProgressReporter } from '../progress.js';

export function addQuantizeCommand(program: Command, context: CommandContext): void {
  program
    .command('quantize')
    .description('Make an int4 model folder from a 16- or 32-bit one, or from one of another tool')
    .argument('<source>', 'Hugging Face checkpoint folder; it is only read')
    .argument('<output>', 'folder to make; of a Llama model its name must begin with "Llama"')
    .addOption(
      new Option('--method <name>', 'rtn: rounding to nearest; awq: calibrated with pictures')
        .choices(['rtn', 'awq'])
        .default('rtn'),
    )
    .option(
      '--calibrate <place>',
      `for awq: a folder of pictures, or a .jsonl file of pictures, prompts and answers; at most ${MAX_SCENES} pictures with ${MAX_QUESTIONS} questions each are used (default: evaluation/scenes.jsonl beside the source folder)`,
    )
    .addOption(
      new Option(
        '--from <format>',
        'the source is quantised or laid out by another tool: symmetric int4 is kept as it is, everything else is rounded (again)',
      ).choices([...SOURCE_FORMATS]),
    )
    .option('--lora <folder>', 'LoRA adapter of PEFT, merged into the source before it is rounded')
    .addOption(
      new Option(
        '--group <size>',
        'weights that share a scale (default: 128; with --from those of the source)',
      ).choices(['32', '64', '128']),
    )
    .addOption(new Option('--lm-head <form>', 'the last layer').choices(['bf16', 'int8', 'int4']).default('bf16'))
    .option('--accept-llama-license', 'you have read and accept the licence of a Llama model')
    .addHelpText(
      'after',
      examples(
        'scenebus quantize models/my-model models/my-model-int4 --group 64',
        'scenebus quantize models/my-model models/my-model-int4 --method awq --calibrate pictures/',
        'scenebus quantize models/my-model-gptq models/my-model-int4 --from gptq',
        'scenebus quantize models/my-model models/my-model-int4 --lora runs/checkpoint-500',
      ),
    )
    .action(async (source: string, output: string, flags: QuantizeFlags) => {
      const { terminal, signal } = context;
      const [{ createLogger }, { formatQuantizeResult, licenceQuestion, quantizeCheckpoint, quantizeOptionsFrom }] =
        await Promise.all([import('../logger.js'), import('#calibration/quantize/index.js')]);
      const options = quantizeOptionsFrom(source, output, flags);
      using progress = createProgressReporter(terminal.stderr);
      const logger = createLogger(terminal, 'warn');
      const result = await quantizeCheckpoint({
        ...options,
        confirmLlamaLicense: terminal.ask === undefined ? undefined : licenceQuestion(terminal.ask),
        onProgress: progress.onProgress,
        logger,
        signal,
      });
      progress[Symbol.dispose]();
      terminal.out(formatQuantizeResult(result));
    });
}
