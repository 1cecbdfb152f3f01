import { once } from 'node:events';
import type { Command } from 'commander';
import { deviceParts } from '../../app/device-parts.js';
import { DeviceService } from '../../app/device-service.js';
import { loadConfig } from '../../config/load.js';
import { type CommandContext, examples } from '../command-context.js';
import { createLogger } from '../logger.js';
import { createProgressReporter } from '../progress.js';

export function addRunCommand(program: Command, context: CommandContext): void {
  program
    .command('run')
    .description('Run the device: cameras, model and bus as the configuration says, until it is told to stop')
    .requiredOption('--config <file>', 'YAML or JSON file')
    .addHelpText('after', examples('scenebus run --config /etc/scenebus/config.yaml'))
    .action(async (options: { config: string }) => {
      const { terminal, signal, environment } = context;
      const config = await loadConfig(options.config, environment);
      const logger = createLogger(terminal, config.log);
      const progress = createProgressReporter(terminal.stderr);
      const { onProgress } = progress;
      await using service = await DeviceService.start(config, { parts: deviceParts, logger, onProgress, signal });
      progress[Symbol.dispose]();
      logger.log('info', `device ${config.device} is ${service.state} on ${service.bus.broker}`);
      // With its one-time token it is no line for a log that others read: to the terminal only.
      if (service.consoleAddress !== undefined)
        terminal.note(`Console: ${service.makeConsoleLink() ?? service.consoleAddress}`);
      if (!signal.aborted) await once(signal, 'abort');
      logger.log('info', 'stopping');
    });
}
