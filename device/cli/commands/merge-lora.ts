import { type Command, Option } from 'commander';
import { MERGE_TYPES, type MergeType } from '#calibration/quantize/option-values.js';
import { type CommandContext, examples } from '../command-context.js';
import { createProgressReporter } from '../progress.js';

interface MergeLoraFlags {
  readonly dtype: MergeType;
  readonly acceptLlamaLicense?: true;
}

export function addMergeLoraCommand(program: Command, context: CommandContext): void {
  program
    .command('merge-lora')
    .description('Merge a LoRA adapter of PEFT into its base model: a plain folder, summed in float32')
    .argument('<base>', 'folder of the base model in 16 or 32 bits; it is only read')
    .argument(
      '<adapter>',
      'folder with adapter_config.json and adapter_model.safetensors; the base itself when they lie in it',
    )
    .argument('<output>', 'folder to make; of a Llama model its name must begin with "Llama"')
    .addOption(
      new Option('--dtype <type>', 'what weights are written in; same: as the base has them')
        .choices([...MERGE_TYPES])
        .default('same'),
    )
    .option('--accept-llama-license', 'you have read and accept the licence of a Llama model')
    .addHelpText('after', examples('scenebus merge-lora models/my-model runs/checkpoint-500 models/my-model-kitchen'))
    .action(async (base: string, adapter: string, output: string, flags: MergeLoraFlags) => {
      const { terminal, signal } = context;
      const [{ createLogger }, { formatMergeResult, licenceQuestion, mergeLora }] = await Promise.all([
        import('../logger.js'),
        import('#calibration/quantize/index.js'),
      ]);
      using progress = createProgressReporter(terminal.stderr);
      const result = await mergeLora({
        base,
        adapter,
        output,
        dtype: flags.dtype,
        acceptLlamaLicense: flags.acceptLlamaLicense,
        confirmLlamaLicense: terminal.ask === undefined ? undefined : licenceQuestion(terminal.ask),
        onProgress: progress.onProgress,
        logger: createLogger(terminal, 'warn'),
        signal,
      });
      progress[Symbol.dispose]();
      terminal.out(formatMergeResult(result));
    });
}
