import type { Logger, LogLevel } from 'scenebus';
import type { Terminal } from './terminal.js';

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** One line an entry on stderr: `12:00:05.123 warn  camera/front: …`. systemd adds the date itself. */
export function createLogger(terminal: Terminal, minimum: LogLevel): Logger {
  return {
    log(level, message, details) {
      if (RANK[level] < RANK[minimum]) return;
      const time = new Date().toISOString().slice(11, 23);
      const facts = details && Object.keys(details).length > 0 ? ` ${JSON.stringify(details, replaceErrors)}` : '';
      terminal.note(`${time} ${level.padEnd(5)} ${message}${facts}`);
    },
  };
}

/** Errors have no enumerable fields of their own: JSON would show `{}`. */
function replaceErrors(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.message : value;
}
