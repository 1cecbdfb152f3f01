/** `scenebus run`: the service, the signals that reach it, and what the service manager is told. */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import type { DeviceConfig } from '../config/schema.js';
import type { CommandContext } from './command-context.js';
import { EXIT_CODES } from './exit-codes.js';
import { createProgressReporter } from './progress.js';

/** Of a stop, as it is promised to service managers. Whoever cannot wait sends the signal again. */
const STOP_LIMIT_MS = 5_000;

export async function runDevice(file: string, context: CommandContext): Promise<void> {
  const { terminal, signal, environment } = context;
  const [
    { isSdkError },
    { loadConfig },
    { createLogger },
    { deviceParts },
    { DeviceService },
    { ServiceNotifier },
    { consoleInvitation },
    { consoleLinkFile },
    { ConfigFileStore },
  ] = await Promise.all([
    import('scenebus'),
    import('../config/load.js'),
    import('./logger.js'),
    import('../app/device-parts.js'),
    import('../app/device-service.js'),
    import('../platform/service-notifier.js'),
    import('../app/console-link.js'),
    import('../app/journal-options.js'),
    import('../config/editing/config-store.js'),
  ]);
  const config = await loadConfig(file, environment, { check: 'model' });
  let level = config.log;
  const logger = createLogger(terminal, () => level);
  using notifier = new ServiceNotifier({ environment });
  notifier.starting();
  // Also of a start: a model may be in the middle of its loading.
  const stopInTime = () => {
    notifier.stopping();
    setTimeout(() => {
      logger.log('error', `not stopped within ${STOP_LIMIT_MS / 1_000} s: exiting anyway`);
      process.exit(EXIT_CODES.failed);
    }, STOP_LIMIT_MS).unref();
  };
  signal.addEventListener('abort', stopInTime, { once: true });
  const progress = createProgressReporter(terminal.stderr);
  const { onProgress } = progress;
  const service = await DeviceService.start(config, {
    parts: deviceParts,
    logger,
    onProgress,
    signal,
    configSource: { store: new ConfigFileStore(file), environment },
    onReload: ({ log }) => {
      level = log;
    },
  }).catch((error: unknown) => {
    if (isSdkError(error) && !error.retryable && error.code !== 'ERR_INTERNAL') context.setExitCode(EXIT_CODES.usage);
    throw error;
  });
  progress[Symbol.dispose]();
  service.hub.on('health', ({ body }) =>
    notifier.status([body.state, ...body.problems.map(({ message }) => message)].join(': ')),
  );
  const reload = async (): Promise<void> => {
    notifier.reloading();
    try {
      const next: DeviceConfig = await loadConfig(file, environment);
      await service.reload(next);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      logger.log('error', `the configuration was not reloaded, the old one stays in effect: ${reason}`);
    } finally {
      notifier.reloaded();
    }
  };
  const ignoreReloads = context.onReload(() => void reload());
  notifier.ready();
  logger.log('info', `device ${config.device} is ${service.state} on ${service.bus.broker}`);
  const linkFile = consoleLinkFile(config, environment);
  const isTerminal = terminal.stderr.isTTY === true;
  const invitation = await consoleInvitation(service, { isTerminal, file: linkFile });
  if (invitation !== undefined) terminal.note(`Console: ${invitation}`);
  if (!signal.aborted) await once(signal, 'abort');
  ignoreReloads();
  logger.log('info', 'stopping');
  await service.stop();
  // It opens nothing any more.
  if (!isTerminal) await rm(linkFile, { force: true }).catch(() => {});
}
