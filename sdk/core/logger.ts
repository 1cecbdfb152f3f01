export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Where the SDK says what it does. Silent unless the caller passes one. Never given a secret. */
export interface Logger {
  log(level: LogLevel, message: string, details?: Readonly<Record<string, unknown>>): void;
}

export const silentLogger: Logger = { log: () => {} };

/** Progress of long work (load, quantise, prepare). `total` is 0 when it is not known. */
export interface Progress {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
  readonly unit: 'bytes' | 'steps' | 'tensors' | 'frames';
}
/** Called often while long work runs: cheap, and never throwing. */
export type OnProgress = (progress: Progress) => void;
