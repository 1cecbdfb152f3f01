/** What the checks may ask of the machine. Injected, so that each absence can be tested where everything is there. */
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readdir, readFile, statfs } from 'node:fs/promises';
import { connect } from 'node:net';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';

export interface Machine {
  readonly nodeVersion: string;
  readonly architecture: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly processors: { readonly model: string; readonly count: number };
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number };
  /** null: there is no such file, or it cannot be read. */
  readText(path: string): Promise<string | null>;
  /** Names in a folder; empty when there is none. */
  list(folder: string): Promise<readonly string[]>;
  /** Whether this user may read and write it. */
  isAccessible(path: string): Promise<boolean>;
  freeBytes(path: string): Promise<number | null>;
  /** Runs a program to its end; null when it cannot be started. */
  run(file: string, args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string } | null>;
  /** Whether something accepts TCP connections there. */
  isListening(host: string, port: number): Promise<boolean>;
}

const RUN_LIMIT_MS = 20_000;

export const thisMachine: Machine = {
  nodeVersion: process.version,
  architecture: process.arch,
  environment: process.env,
  get processors() {
    return { model: cpus()[0]?.model.trim() || 'unknown', count: availableParallelism() };
  },
  get memory() {
    return { totalBytes: totalmem(), availableBytes: freemem() };
  },
  readText: (path) => readFile(path, 'utf8').catch(() => null),
  list: (folder) => readdir(folder).catch(() => []),
  isAccessible: (path) =>
    access(path, constants.R_OK | constants.W_OK).then(
      () => true,
      () => false,
    ),
  freeBytes: (path) =>
    statfs(path).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => null,
    ),
  run: (file, args) =>
    new Promise((resolve) => {
      const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      // Not spawn's own `timeout`: its timer outlives a program that could not be started.
      const limit = setTimeout(() => child.kill('SIGKILL'), RUN_LIMIT_MS);
      const end = (result: Awaited<ReturnType<Machine['run']>>) => {
        clearTimeout(limit);
        resolve(result);
      };
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.on('error', () => end(null));
      child.on('close', (code) => end({ code, output }));
    }),
  isListening: (host, port) =>
    new Promise((resolve) => {
      const socket = connect({ host, port, timeout: 1_000 });
      const end = (answer: boolean) => {
        socket.destroy();
        resolve(answer);
      };
      socket.on('connect', () => end(true));
      socket.on('timeout', () => end(false));
      socket.on('error', () => end(false));
    }),
};
