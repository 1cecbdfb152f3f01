import type { Logger, LogLevel } from 'scenebus';
import { redact, redactDeep } from 'scenebus/service';
import type { Terminal } from './terminal.js';

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** One line an entry on stderr: `12:00:05.123 warn  camera/front: …`. systemd adds the date itself. */
export function createLogger(terminal: Terminal, minimum: LogLevel | (() => LogLevel)): Logger {
  return {
    log(level, message, details) {
      if (RANK[level] < RANK[typeof minimum === 'function' ? minimum() : minimum]) return;
      const time = new Date().toISOString().slice(11, 23);
      const facts = details && Object.keys(details).length > 0 ? ` ${JSON.stringify(redactDeep(details))}` : '';
      terminal.note(redact(`${time} ${level.padEnd(5)} ${message}${facts}`));
    },
  };
}
