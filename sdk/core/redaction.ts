/**
 * Secrets never leave the process: not in errors, logs, the console or the bus. Whoever learns of one (an address with
 * a password, a variable of the environment) registers it; everything that leaves passes `redact`, which takes it out
 * by its value, however it was encoded on the way, and takes out what looks like one.
 */
import type { Logger } from './logger.js';

const HIDDEN = '***';
/** Shorter values are words of their own only: nobody wants every "ab" of a text hidden. */
const SHORT = 4;

interface RegisteredSecret {
  readonly pattern: RegExp;
  uses: number;
}

const secrets = new Map<string, RegisteredSecret>();
/** Longest first, so that a secret within another one does not leave the rest of it. */
let patterns: readonly RegExp[] = [];

/**
 * Takes `value` out of everything that leaves from now on. Values that are empty are no secrets.
 * @returns a function that forgets it again, for secrets of something that is closed
 */
export function registerSecret(value: string): () => void {
  if (value === '') return () => {};
  const known = secrets.get(value) ?? { pattern: patternOf(value), uses: 0 };
  known.uses++;
  secrets.set(value, known);
  sortPatterns();
  let isForgotten = false;
  return () => {
    if (isForgotten) return;
    isForgotten = true;
    if (--known.uses === 0) secrets.delete(value);
    sortPatterns();
  };
}

function sortPatterns(): void {
  patterns = [...secrets].sort(([a], [b]) => b.length - a.length).map(([, { pattern }]) => pattern);
}

/** Every character as it is, percent-encoded, or escaped as in JSON. */
function patternOf(secret: string): RegExp {
  const characters = [...secret].map((character) => {
    const bytes = [...new TextEncoder().encode(character)];
    const percent = bytes.map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    const json = JSON.stringify(character).slice(1, -1);
    const forms = new Set([literal(character), caseless(percent), literal(json)]);
    return `(?:${[...forms].join('|')})`;
  });
  const body = characters.join('');
  return new RegExp(secret.length < SHORT ? `(?<![A-Za-z0-9])${body}(?![A-Za-z0-9])` : body, 'gu');
}

const literal = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
/** Hexadecimal digits in either case. */
const caseless = (text: string) => text.replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`);

const SECRET_KEY = '(?:user(?:name)?|usr|login|pass(?:word|wd|phrase)?|pwd|pw|token|secret|api[_-]?key|access[_-]?key)';
/**
 * `scheme://anything@`: up to the last `@` of the word, since `/`, `#` and `?` in a password end the user-info for a
 * URL parser, not for the person who wrote it. Both lengths are bounded: strangers' text passes here too, and without
 * bounds a long word of it would be read again from each of its letters.
 */
const USER_INFO = /([A-Za-z][A-Za-z0-9+.-]{0,31}:\/\/)([^\s"'<>]{0,2048})@/g;
/** What advice says, and references that are not yet replaced. */
const PLACEHOLDER = /^(?:user:password|[^\s:]*:?\$\{[A-Z0-9_]+\})$/;
/**
 * `password=…` in paths and queries (`user=a_password=b_channel=1`, `usr=a/pwd=b`): up to the next such pair.
 */
const PAIR = new RegExp(
  `(?<![A-Za-z0-9])(${SECRET_KEY}=)(?!\\$\\{)[^\\s"'<>]*?(?=[_&?;,/|][A-Za-z][A-Za-z0-9]{0,15}=|[\\s"'<>]|$)`,
  'gi',
);
const JSON_PAIR = new RegExp(`("${SECRET_KEY}"\\s*:\\s*")(?:[^"\\\\]|\\\\.)*"`, 'gi');
const AUTHORIZATION = /(authorization:\s*[A-Za-z]+\s+)[^\r\n]+/gi;

/** `text` without registered secrets and without what looks like one. */
export function redact(text: string): string {
  let shown = text;
  for (const pattern of patterns) shown = shown.replace(pattern, HIDDEN);
  return shown
    .replace(USER_INFO, (whole, scheme: string, info: string) =>
      PLACEHOLDER.test(info) ? whole : `${scheme}${HIDDEN}@`,
    )
    .replace(PAIR, (_, key: string) => `${key}${HIDDEN}`)
    .replace(JSON_PAIR, (_, key: string) => `${key}${HIDDEN}"`)
    .replace(AUTHORIZATION, (_, key: string) => `${key}${HIDDEN}`);
}

const MAX_DEPTH = 8;

/** The same for all strings of a value that is shown; errors become their messages. Numbers and such stay. */
export function redactDeep(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redact(value);
  if (value instanceof Error) return redact(value.message);
  if (value === null || typeof value !== 'object') return value;
  if (depth >= MAX_DEPTH) return HIDDEN;
  if (Array.isArray(value)) return value.map((item) => redactDeep(item, depth + 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value; // bytes, dates and such
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redactDeep(item, depth + 1)]));
}

/** For loggers that others bring. */
export function redactingLogger(logger: Logger): Logger {
  return {
    log: (level, message, details) =>
      logger.log(level, redact(message), details && (redactDeep(details) as Record<string, unknown>)),
  };
}
