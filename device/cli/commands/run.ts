import type { Command } from 'commander';
import { type CommandContext, examples } from '../command-context.js';
import { runDevice } from '../run-device.js';

export function addRunCommand(program: Command, context: CommandContext): void {
  program
    .command('run')
    .description('Run the device: cameras, model and bus as the configuration says, until it is stopped')
    .requiredOption('--config <file>', 'YAML or JSON file')
    .addHelpText(
      'after',
      `
SIGTERM and Ctrl-C end it within 5 seconds, a second one at once. SIGHUP reads the configuration again: cameras,
descriptions, limits and pauses change while it runs; what needs a restart is named in the log.
Exits with 2 for what a restart cannot fix: a wrong configuration, a model that cannot be run here.
${examples('scenebus run --config /etc/scenebus/config.yaml')}`,
    )
    .action((options: { config: string }) => runDevice(options.config, context));
}
