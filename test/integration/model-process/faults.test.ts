import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { VisionLanguageModel } from '#sdk/model/types.js';
import { type Action, isAlive, leftBehind, modelProcesses, picture, type Stage, Staged } from './staged.js';

const died = (how: string) =>
  expect.objectContaining({ name: 'SdkError', code: 'ERR_ENGINE_DIED', details: expect.objectContaining({ how }) });
const QUESTION = 'Where is the red cup?';
const IN_A_CALL = ['encode', 'prefill', 'decode'] as const;

let before: ReturnType<typeof leftBehind>;
beforeEach(() => {
  before = leftBehind();
});
afterEach(async () => {
  // Whatever happened: no process, no descriptor, no shared memory is left.
  expect(modelProcesses()).toEqual([]);
  await expect.poll(leftBehind).toEqual(before); // channels of programs that a test started close in their own time
});

/** A model that has come to a stage of a call, and the call. */
async function inCall(stage: Stage, action: Action, settings = {}) {
  const staged = new Staged(stage, action, settings);
  const model = await staged.model;
  const answer = model.ask(picture(1), QUESTION);
  answer.catch(() => {});
  await staged.reached(stage);
  return { model, answer, pid: model.process!.pid };
}

async function expectGone(model: VisionLanguageModel, how: string): Promise<void> {
  expect(await model.process!.ended).toEqual(died(how));
  expect(isAlive(model.process!.pid)).toBe(false);
  expect(model.process!.memory()).toBeUndefined();
  await expect(model.ask(picture(1), QUESTION)).rejects.toEqual(died(how));
  await model[Symbol.asyncDispose]();
}

describe('kill -9 of the model process', () => {
  test('while it starts', async () => {
    const staged = new Staged();
    const [pid] = modelProcesses(); // Node itself is still starting
    process.kill(pid!, 'SIGKILL');
    await expect(staged.model).rejects.toEqual(died('SIGKILL'));
  });

  test('while it loads', async () => {
    const staged = new Staged('load', 'hold');
    await staged.reached('load');
    process.kill(modelProcesses()[0]!, 'SIGKILL');
    await expect(staged.model).rejects.toEqual(died('SIGKILL'));
  });

  test('while it has nothing to do: the next call says so', async () => {
    const model = await new Staged().model;
    process.kill(model.process!.pid, 'SIGKILL');
    await expectGone(model, 'SIGKILL');
  });

  test.each(IN_A_CALL)('in the stage "%s" of a call: everything under way is told at once', async (stage) => {
    const { model, answer, pid } = await inCall(stage, 'hold');
    const waiting = model.ask(picture(2), QUESTION);
    process.kill(pid, 'SIGKILL');
    await expect(answer).rejects.toEqual(died('SIGKILL'));
    await expect(waiting).rejects.toEqual(died('SIGKILL'));
    await expectGone(model, 'SIGKILL');
  });

  test('in the middle of a text: what came before is kept, the loop ends with the error', async () => {
    const model = await new Staged().model;
    const pieces: string[] = [];
    const stream = model.generate(
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image', image: picture(1) },
              { type: 'text', text: 'Describe.' },
            ],
          },
        ],
      },
      { temperature: 100, topP: 1, seed: 1, maxNewTokens: 1000 },
    );
    const loop = (async () => {
      for await (const piece of stream) {
        if (pieces.length === 0) process.kill(model.process!.pid, 'SIGKILL');
        pieces.push(piece);
      }
    })();
    await expect(loop).rejects.toEqual(died('SIGKILL'));
    expect(pieces.length).toBeGreaterThan(0);
    await expectGone(model, 'SIGKILL');
  });

  test('while it is disposed: the disposal ends', async () => {
    const staged = new Staged('dispose', 'hold', { graceMs: 60_000 });
    const model = await staged.model;
    const disposal = model[Symbol.asyncDispose]();
    await staged.reached('dispose');
    process.kill(model.process!.pid, 'SIGKILL');
    await disposal;
    expect(await model.process!.ended).toBeUndefined(); // it was asked to end
  });
});

describe('a model process that hangs', () => {
  /** Longer than Node takes to start on a busy machine. */
  const quick = { hangMs: 5000 };

  test.each(['stopped by a signal', 'caught in an endless loop'])('%s while it loads is killed', async (kind) => {
    const staged = new Staged('load', kind.includes('loop') ? 'spin' : 'hold', quick);
    await staged.reached('load');
    if (!kind.includes('loop')) process.kill(modelProcesses()[0]!, 'SIGSTOP');
    await expect(staged.model).rejects.toEqual(died(kind.includes('loop') ? 'hung' : 'stopped'));
  });

  test('stopped while it has nothing to do is noticed without a call', async () => {
    // Sooner than its signs of life are missed.
    const model = await new Staged(undefined, 'go', { hangMs: 600_000 }).model;
    process.kill(model.process!.pid, 'SIGSTOP');
    await expectGone(model, 'stopped');
  });

  test.each(IN_A_CALL)('in the stage "%s" is killed and the call told', async (stage) => {
    const { model, answer } = await inCall(stage, 'spin', quick);
    await expect(answer).rejects.toEqual(died('hung'));
    await expectGone(model, 'hung');
  });

  test('in native code, with its thread free, is killed when it does not heed an abort', async () => {
    const staged = new Staged('prefill', 'hold', quick);
    const model = await staged.model;
    const abort = new AbortController();
    const answer = model.ask(picture(1), QUESTION, { signal: abort.signal });
    await staged.reached('prefill');
    const other = model.ask(picture(2), QUESTION);
    const reason = new Error('enough');
    abort.abort(reason);
    await expect(answer).rejects.toBe(reason);
    await expect(other).rejects.toEqual(died('hung'));
    await expectGone(model, 'hung');
  });

  test('while it is disposed is killed after a grace', async () => {
    const model = await new Staged('dispose', 'hold', { graceMs: 100 }).model;
    await model[Symbol.asyncDispose]();
    expect(isAlive(model.process!.pid)).toBe(false);
  });

  test('while it loads is killed when the load is aborted', async () => {
    const abort = new AbortController();
    const staged = new Staged('load', 'spin', { graceMs: 100 }, abort.signal);
    await staged.reached('load');
    const reason = new Error('changed my mind');
    abort.abort(reason);
    await expect(staged.model).rejects.toBe(reason);
  });

  test('is not taken for hung because its parent was held up', async () => {
    const model = await new Staged(undefined, 'go', quick).model;
    const until = performance.now() + 7000;
    while (performance.now() < until);
    expect((await model.ask(picture(1), QUESTION)).text).not.toBe('');
    await model[Symbol.asyncDispose]();
    expect(await model.process!.ended).toBeUndefined();
  });
});

describe('a model process that fails by itself', () => {
  test('tells its last words', async () => {
    const { model, answer } = await inCall('decode', 'crash');
    const error = expect.objectContaining({
      code: 'ERR_ENGINE_DIED',
      message: expect.stringContaining('SIGABRT'),
      details: expect.objectContaining({ output: expect.stringContaining('last words: the driver is gone') }),
    });
    await expect(answer).rejects.toEqual(error);
    expect(await model.process!.ended).toEqual(error);
    await model[Symbol.asyncDispose]();
  });

  test('ends when its engine died, as a poisoned CUDA context does: a fresh one can be loaded', async () => {
    const { model, answer } = await inCall('decode', 'poison');
    await expect(answer).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED', message: expect.stringContaining('(700)') });
    expect(await model.process!.ended).toMatchObject({
      code: 'ERR_ENGINE_DIED',
      details: { how: 'exit code 1', output: expect.stringContaining('illegal memory access') },
    });
    await model[Symbol.asyncDispose]();
    await using fresh = await new Staged().model;
    expect((await fresh.ask(picture(1), QUESTION)).finishReason).toBe('stop');
  });
});

describe('memory', () => {
  test('is back to its level after ten processes were killed in the middle of a call on a 4K picture', async () => {
    const large = picture(3, 3840, 2160);
    const cycle = async () => {
      const staged = new Staged('prefill', 'hold');
      const model = await staged.model;
      const answer = model.ask(large, QUESTION);
      answer.catch(() => {});
      await staged.reached('prefill');
      process.kill(model.process!.pid, 'SIGKILL');
      await expect(answer).rejects.toEqual(died('SIGKILL'));
      await model[Symbol.asyncDispose]();
    };
    const sharedBytes = () => Number(/^Shmem:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))![1]) * 1024;
    await cycle();
    const [rss, shared] = [process.memoryUsage().rss, sharedBytes()];
    for (let i = 0; i < 9; i++) await cycle();
    // Ten pictures that stayed would be 250 MB in either.
    expect(process.memoryUsage().rss - rss).toBeLessThan(100 * 2 ** 20);
    expect(sharedBytes() - shared).toBeLessThan(150 * 2 ** 20);
  }, 120_000);
});

describe('the model process of a parent that ends', () => {
  /** A program with a model; resolves with the pid of its model process. */
  async function owner(...how: string[]): Promise<{ parent: ChildProcess; pid: number }> {
    const parent = fork(fileURLToPath(new URL('./model-owner.mjs', import.meta.url)), how, { execArgv: [] });
    const [pid] = (await once(parent, 'message')) as [number];
    return { parent, pid };
  }

  async function gone(pid: number): Promise<void> {
    while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  test('goes with it after kill -9', async () => {
    const { parent, pid } = await owner('stay');
    parent.kill('SIGKILL');
    await gone(pid);
  });

  test('goes with it even when it is stopped, and cannot notice anything', async () => {
    const { parent, pid } = await owner('stay');
    process.kill(pid, 'SIGSTOP');
    parent.kill('SIGKILL');
    await gone(pid);
  });

  test('goes with it even when it is caught in an endless loop', async () => {
    const { parent, pid } = await owner('stay', 'spin');
    parent.kill('SIGKILL');
    await gone(pid);
  });

  test('does not keep a program from ending that forgot to dispose the model', async () => {
    const { parent, pid } = await owner('leave');
    expect((await once(parent, 'exit')).slice(0, 1)).toEqual([0]);
    await gone(pid);
  });

  test('is left to the parent by Ctrl-C and by a service manager: only the parent says when to stop', async () => {
    const model = await new Staged().model;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(model.process!.pid, signal);
    expect((await model.ask(picture(1), QUESTION)).finishReason).toBe('stop');
    await model[Symbol.asyncDispose]();
    expect(await model.process!.ended).toBeUndefined();
  });
});
