/** The real machine behind the pure functions of this folder: probes, child processes, progress lines. */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '');

const colour = process.stdout.isTTY && !process.env.NO_COLOR;

/** @param {string} text */
export function say(text) {
  process.stdout.write(`${colour ? '\x1b[36m[setup]\x1b[0m' : '[setup]'} ${text}\n`);
}

/** @param {string} name */
export function hasCommand(name) {
  // Daemons live in sbin, which is not on the search path of ordinary users.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.some((folder) => {
    if (folder === '') return false;
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** @returns {import('./system-packages.mjs').Probe} */
export function probeMachine() {
  const multiarch = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  return { command: hasCommand, file: existsSync, environment: process.env, multiarch };
}

/** @returns {import('./system-packages.mjs').Machine} */
export function inspectMachine() {
  return {
    hasApt: hasCommand('apt-get'),
    isRoot: process.getuid?.() === 0,
    hasSudo: hasCommand('sudo'),
    isInteractive: process.stdin.isTTY === true,
    hasPackageLists: listFolder('/var/lib/apt/lists').some((name) => name.includes('_Packages')),
  };
}

/** @param {string} folder */
function listFolder(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

export class StepFailed extends Error {}

/**
 * Runs a program with its output on ours. Rejects with StepFailed unless it exits with 0.
 * @param {readonly string[]} command
 * @param {{ environment?: Record<string, string>, quiet?: boolean }} [options] quiet: output is shown only on failure
 * @returns {Promise<void>}
 */
export function run(command, options = {}) {
  const [file = '', ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: repositoryRoot,
      env: { ...process.env, ...options.environment },
      stdio: options.quiet ? ['ignore', 'pipe', 'pipe'] : ['inherit', 'inherit', 'inherit'],
    });
    let output = '';
    child.stdout?.on('data', (chunk) => (output += chunk));
    child.stderr?.on('data', (chunk) => (output += chunk));
    child.on('error', (error) => reject(new StepFailed(`${file} could not be started: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) return resolve();
      if (output !== '') process.stderr.write(output);
      reject(new StepFailed(`"${command.join(' ')}" ended with ${signal ?? `exit code ${code}`}`));
    });
  });
}
