/**
 * llama.cpp as a contender, through node-llama-cpp. It is no dependency of the product: the bench installs it into its
 * own folder when it is first wanted, and goes on without it when that fails.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { TextArchitecture } from '#sdk/architecture/architecture.js';
import { startChild } from './child.js';
import type { Contender, ContenderOptions } from './contenders.js';
import { q4Bytes, writeRandomGguf } from './gguf.js';
import type { LlamaAnswer, LlamaRequest } from './llama-child.js';

const VERSION = '3.22.1';
const INSTALL_TIMEOUT_MS = 5 * 60_000;

/** @returns the package's entry file @throws Error with npm's reason */
export async function installLlama(directory: string): Promise<string> {
  const folder = path.join(directory, 'rivals');
  const entry = path.join(folder, 'node_modules', 'node-llama-cpp', 'dist', 'index.js');
  if (existsSync(entry)) return entry;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  // Its optional packages hold builds for GPUs: only the one for this processor is taken, and nothing is compiled.
  const binaries = `@node-llama-cpp/linux-${process.arch === 'x64' ? 'x64' : process.arch}`;
  const packages = [`node-llama-cpp@${VERSION}`, `${binaries}@${VERSION}`];
  const flags = ['--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await promisify(execFile)('npm', ['install', ...flags, ...packages], { cwd: folder, timeout: INSTALL_TIMEOUT_MS });
  return entry;
}

/** @throws Error when it cannot be installed or does not run here */
export async function openLlama(
  directory: string,
  shape: string,
  text: TextArchitecture,
  { threads, contextLength }: ContenderOptions,
): Promise<Contender> {
  const entry = await installLlama(directory);
  const model = path.join(directory, `random-${shape}-q4_0.gguf`);
  await writeRandomGguf(model, text, contextLength);
  // It is talkative about a vocabulary without a meaning.
  const child = startChild<LlamaRequest, LlamaAnswer>('./llama-child.js', ['ignore', 'ignore', 'ignore', 'ipc']);
  try {
    const { ms, release } = await child.ask({ kind: 'open', entry, model, threads, contextLength });
    return {
      name: `llama.cpp ${release} Q4_0`,
      loadMs: ms,
      weightBytes: q4Bytes(text),
      cacheValueBytes: 2,
      async forward(position, tokens, logits) {
        await child.ask({ kind: 'forward', position, tokens: [...tokens], all: logits === 'all' });
      },
      close: () => child.close(),
    };
  } catch (error) {
    await child.close();
    throw error;
  }
}
