/** Models in a process that stops at a stage, and what they leave behind. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { LogLevel } from '#sdk/core/logger.js';
import { loadModelInProcess, type ProcessSettings } from '#sdk/model/process/process-model.js';
import type { ModelImage, VisionLanguageModel } from '#sdk/model/types.js';

export const CHECKPOINT = fileURLToPath(new URL('../../../examples/demo-model/checkpoint', import.meta.url));
const ENTRY = new URL('../../../dist/test/support/staged-model-process.js', import.meta.url);

export type Stage = 'load' | 'encode' | 'prefill' | 'decode' | 'dispose';
export type Action = 'go' | 'hold' | 'spin' | 'crash' | 'poison';

export function picture(value: number, width = 64, height = 48): ModelImage {
  return { width, height, format: 'rgb8', data: new Uint8Array(width * height * 3).fill(value) };
}

export class Staged {
  readonly lines: { level: LogLevel; message: string }[] = [];
  readonly model: Promise<VisionLanguageModel>;
  readonly #reached = new Map<string, { promise: Promise<void>; resolve: () => void }>();

  constructor(stage?: Stage, action: Action = 'go', settings: ProcessSettings = {}, signal?: AbortSignal) {
    const logger = {
      log: (level: LogLevel, message: string) => {
        this.lines.push({ level, message });
        if (message.startsWith('stage ')) this.#stage(message.slice(6)).resolve();
      },
    };
    const directory = stage === undefined ? CHECKPOINT : `${CHECKPOINT}#${stage}=${action}`;
    this.model = loadModelInProcess(directory, { logger, signal }, { entry: ENTRY, ...settings });
    this.model.catch(() => {}); // looked at by whoever waits for it
  }

  /** Resolves when the process says so; rejects when the load fails before. */
  reached(stage: Stage): Promise<unknown> {
    const { promise } = this.#stage(stage);
    return Promise.race([promise, this.model.then(() => promise)]);
  }

  #stage(name: string) {
    let stage = this.#reached.get(name);
    if (stage === undefined) {
      let resolve = () => {};
      stage = { promise: new Promise<void>((settle) => (resolve = settle)), resolve };
      this.#reached.set(name, stage);
    }
    return stage;
  }
}

/** Pids of living children of this process that run a model. */
export function modelProcesses(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const isMine = new RegExp(`^PPid:\\t${process.pid}$`, 'm').test(readFileSync(`/proc/${pid}/status`, 'utf8'));
        return isMine && /model-process\.js|process\/main\.js/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
      } catch {
        return false;
      }
    });
}

/** Open files of this process, of which so many hold frames, and what is named after them in shared memory. */
export function leftBehind(): { descriptors: number; memoryFiles: number; names: string[] } {
  const descriptors = readdirSync('/proc/self/fd');
  const memoryFiles = descriptors.filter((each) => {
    try {
      return readlinkSync(`/proc/self/fd/${each}`).includes('scenebus-frames');
    } catch {
      return false; // the one that listed the folder
    }
  });
  return {
    descriptors: descriptors.length,
    memoryFiles: memoryFiles.length,
    names: readdirSync('/dev/shm').filter((name) => name.includes('frames')),
  };
}

export function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}
