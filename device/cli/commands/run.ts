import { once } from 'node:events';
import type { Command } from 'commander';
import { type CommandContext, examples } from '../command-context.js';
import { EXIT_CODES } from '../exit-codes.js';
import { createProgressReporter } from '../progress.js';

export function addRunCommand(program: Command, context: CommandContext): void {
  program
    .command('run')
    .description('Run the device: cameras, model and bus as the configuration says, until it is told to stop')
    .requiredOption('--config <file>', 'YAML or JSON file')
    .addHelpText(
      'after',
      `\nEnds with 2 for what starting again cannot mend: a wrong configuration, a model that cannot be run here.\n${examples('scenebus run --config /etc/scenebus/config.yaml')}`,
    )
    .action(async (options: { config: string }) => {
      const { terminal, signal, environment } = context;
      const [{ isSdkError }, { loadConfig }, { createLogger }, { deviceParts }, { DeviceService }] = await Promise.all([
        import('scenebus'),
        import('../../config/load.js'),
        import('../logger.js'),
        import('../../app/device-parts.js'),
        import('../../app/device-service.js'),
      ]);
      const config = await loadConfig(options.config, environment, { check: 'model' });
      const logger = createLogger(terminal, config.log);
      const progress = createProgressReporter(terminal.stderr);
      const { onProgress } = progress;
      await using service = await DeviceService.start(config, { parts: deviceParts, logger, onProgress, signal }).catch(
        (error: unknown) => {
          if (isSdkError(error) && !error.retryable && error.code !== 'ERR_INTERNAL')
            context.setExitCode(EXIT_CODES.usage);
          throw error;
        },
      );
      progress[Symbol.dispose]();
      logger.log('info', `device ${config.device} is ${service.state} on ${service.bus.broker}`);
      // With its one-time token it is no line for a log that others read: to the terminal only.
      if (service.consoleAddress !== undefined)
        terminal.note(`Console: ${service.makeConsoleLink() ?? service.consoleAddress}`);
      if (!signal.aborted) await once(signal, 'abort');
      logger.log('info', 'stopping');
    });
}
