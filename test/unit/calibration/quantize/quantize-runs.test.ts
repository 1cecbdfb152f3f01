/** Runs that do not end as they should: killed, aborted, at the same time, on a disk that fills up. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { licenceQuestion } from '#calibration/quantize/cli-options.js';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { randomScenes } from '../../../support/calibration-scenes.js';
import { copyCheckpoint, editTensors, GOLDEN, temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const TINY = join(GOLDEN, 'tiny-a');
const DEMO = fileURLToPath(new URL('../../../../examples/demo-model', import.meta.url));
const OPTIONS = { source: TINY, groupSize: 32, journalBytes: 1, shardBytes: 300_000 } as const;

function hashOf(folder: string): string {
  const hash = createHash('sha256');
  for (const file of readdirSync(folder).sort()) hash.update(file).update(readFileSync(join(folder, file)));
  return hash.digest('hex');
}

async function undisturbed(): Promise<string> {
  const output = join(temporaryFolder(), 'out');
  await quantizeCheckpoint({ ...OPTIONS, output });
  return hashOf(output);
}

/** A process that quantises up to `bytes` and then stands still. */
async function standing(output: string, bytes: number) {
  const module = fileURLToPath(new URL('../../../../dist/calibration/quantize/quantize.js', import.meta.url));
  const code = `
    import { quantizeCheckpoint } from ${JSON.stringify(module)};
    const onProgress = ({ done }) => {
      if (done < ${bytes}) return;
      require('node:fs').writeSync(1, 'standing\\n');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };
    await quantizeCheckpoint({ ...${JSON.stringify({ ...OPTIONS, output })}, onProgress });`;
  const text = `import { createRequire } from 'node:module'; const require = createRequire('/');${code}`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

describe('a quantising run', () => {
  test('keeps others from its output while it lives, and is taken up with identical bytes after a kill', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const child = await standing(output, 500_000);
    await expect(quantizeCheckpoint({ ...OPTIONS, output })).rejects.toMatchObject({
      code: 'ERR_PREPARE_LOCKED',
      message: expect.stringContaining(`Process ${child.pid}`),
    });
    expect(existsSync(output)).toBe(false);
    child.kill('SIGKILL');
    await once(child, 'exit');

    const seen: number[] = [];
    await quantizeCheckpoint({ ...OPTIONS, output, onProgress: ({ done }) => seen.push(done) });
    expect(seen[0]).toBeGreaterThan(300_000); // not from the start
    expect(hashOf(output)).toBe(await undisturbed());
    expect(readdirSync(folder)).toEqual(['out']);
  }, 60_000);

  test('keeps out other calls of the same process', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const calls = Array.from({ length: 3 }, () => quantizeCheckpoint({ ...OPTIONS, output }));
    const results = await Promise.allSettled(calls);
    const failed = results.filter((result) => result.status === 'rejected');
    expect(failed).toHaveLength(2);
    for (const { reason } of failed) expect(reason).toMatchObject({ code: 'ERR_PREPARE_LOCKED' });
    expect(readdirSync(folder)).toEqual(['out']);
  });

  test('that was aborted goes on with what it had, and starts anew with other options', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const abortAt = async (bytes: number, change = {}) => {
      const controller = new AbortController();
      const onProgress = ({ done }: { done: number }) => {
        if (done >= bytes) controller.abort(new Error('enough'));
      };
      const { signal } = controller;
      await expect(quantizeCheckpoint({ ...OPTIONS, output, signal, onProgress, ...change })).rejects.toThrow('enough');
    };
    await abortAt(500_000, { lmHead: 'int4' });
    expect(readdirSync(folder)).toEqual(['.out.partial']);
    const seen: number[] = [];
    const totals: number[] = [];
    await abortAt(700_000);
    const onProgress = ({ done, total }: { done: number; total: number }) => {
      seen.push(done);
      totals.push(total);
    };
    await quantizeCheckpoint({ ...OPTIONS, output, onProgress });
    expect(seen[0]).toBeGreaterThan(500_000);
    expect(seen.at(-1)).toBe(totals.at(-1));
    expect(hashOf(output)).toBe(await undisturbed());
    expect(readdirSync(folder)).toEqual(['out']);
  });

  test('that was aborted while calibrating does not search decided layers again', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const { model } = await openCheckpoint(TINY);
    const calibrate = randomScenes(model, 2, 1);
    const options = { ...OPTIONS, calibrate, threads: 1, method: 'awq', output } as const;
    const controller = new AbortController();
    const onProgress = ({ phase, done }: { phase: string; done: number }) => {
      if (phase === 'calibrate: layers' && done === 3) controller.abort(new Error('enough'));
    };
    await expect(quantizeCheckpoint({ ...options, signal: controller.signal, onProgress })).rejects.toThrow('enough');
    const decided = readdirSync(join(folder, '.out.partial', 'calibration')).filter((name) => /^layer-/.test(name));
    expect(decided).toEqual(['layer-0.safetensors', 'layer-1.safetensors', 'layer-2.safetensors']);
    await quantizeCheckpoint(options);
    const again = join(folder, 'again');
    await quantizeCheckpoint({ ...options, output: again });
    expect(hashOf(output)).toBe(hashOf(again));
  });

  test('that was aborted while calibrating does not go on with other pictures', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const { model } = await openCheckpoint(TINY);
    const before = randomScenes(model, 1, 1);
    const after = randomScenes(model, 1, 2).map(({ image }) => ({ image, samples: before[0]!.samples }));
    const options = { ...OPTIONS, threads: 1, method: 'awq' } as const;
    const controller = new AbortController();
    const onProgress = ({ phase, done }: { phase: string; done: number }) => {
      if (phase === 'calibrate: layers' && done === 1) controller.abort(new Error('enough'));
    };
    const run = quantizeCheckpoint({ ...options, calibrate: before, output, signal: controller.signal, onProgress });
    await expect(run).rejects.toThrow('enough');
    await quantizeCheckpoint({ ...options, calibrate: after, output });
    const clean = join(folder, 'clean');
    await quantizeCheckpoint({ ...options, calibrate: after, output: clean });
    expect(hashOf(output)).toBe(hashOf(clean));
  });

  test('looks at every picture before it begins', async () => {
    const folder = temporaryFolder();
    const pictures = join(folder, 'pictures');
    mkdirSync(pictures);
    copyFileSync(join(DEMO, 'evaluation', '00000.jpg'), join(pictures, 'a.jpg'));
    writeFileSync(join(pictures, 'b.jpg'), 'no picture');
    const seen: string[] = [];
    const run = quantizeCheckpoint({
      source: join(DEMO, 'checkpoint'),
      output: join(folder, 'out'),
      groupSize: 64,
      method: 'awq',
      calibrate: pictures,
      onProgress: ({ phase }) => seen.push(phase),
    });
    await expect(run).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID', message: expect.stringContaining('b.jpg') });
    expect(new Set(seen)).toEqual(new Set(['calibrate: reading pictures']));
    expect(readdirSync(folder)).toEqual(['pictures']);
  });

  test('starts the weights over when files that it noted as done are gone', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done > 500_000) controller.abort(new Error('enough'));
    };
    const run = quantizeCheckpoint({ ...OPTIONS, output, signal: controller.signal, onProgress });
    await expect(run).rejects.toThrow('enough');
    const result = join(folder, '.out.partial', 'result');
    rmSync(join(result, readdirSync(result).find((name) => name.startsWith('model-00001'))!));
    await quantizeCheckpoint({ ...OPTIONS, output });
    expect(hashOf(output)).toBe(await undisturbed());
  });

  test('on a disk that fills up says so, keeps what is done and goes on when there is room', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const full = await diskThatFills(folder, 80);
    await expect(quantizeCheckpoint({ ...OPTIONS, output })).rejects.toMatchObject({
      code: 'ERR_DISK_FULL',
      retryable: true,
      message: expect.stringMatching(
        /and \d+\.\d\d GB are free\. .*quota.* kept in .*\.out\.partial: the same command/,
      ),
    });
    expect(full.writes()).toBe(81);
    expect(readdirSync(folder)).toEqual(['.out.partial', 'any']);
    full.restore();
    const seen: number[] = [];
    await quantizeCheckpoint({ ...OPTIONS, output, onProgress: ({ done }) => seen.push(done) });
    expect(seen[0]).toBeGreaterThan(100_000);
    expect(hashOf(output)).toBe(await undisturbed());
  });

  test('keeps what is done when the source goes away, as a disk that is pulled out', async () => {
    const source = copyCheckpoint();
    const output = join(temporaryFolder(), 'out');
    const weights = join(source, 'model.safetensors');
    const onProgress = ({ done }: { done: number }) => {
      if (done > 500_000 && existsSync(weights)) renameSync(weights, `${weights}.away`);
    };
    await expect(quantizeCheckpoint({ ...OPTIONS, source, output, onProgress })).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(/model.safetensors.* kept in .*: the same command continues/),
    });
    renameSync(`${weights}.away`, weights);
    const seen: number[] = [];
    await quantizeCheckpoint({ ...OPTIONS, source, output, onProgress: ({ done }) => seen.push(done) });
    expect(seen[0]).toBeGreaterThan(400_000);
    expect(hashOf(output)).toBe(await undisturbed());
  });

  test('tells what it still needs and what is free', async () => {
    const folder = temporaryFolder();
    await diskThatFills(folder, 80);
    let calls = 0;
    const { statfs } = fs;
    mocked('statfs', async (...args) => {
      calls += 1;
      return calls === 1 ? statfs(...(args as [string])) : { bavail: 3, bsize: 10_000_000 };
    });
    const error = await quantizeCheckpoint({ ...OPTIONS, output: join(folder, 'out') }).catch((reason) => reason);
    expect(error).toMatchObject({ code: 'ERR_DISK_FULL', details: { freeBytes: 30_000_000 } });
    expect(error.message).toContain('needs 0.07 GB');
    expect(error.message).toContain('but 0.03 GB are free');
    const [done, spare] = [400_000, 64 << 20];
    expect(error.details.neededBytes).toBeLessThan(spare + 1_500_000 - done);
    expect(error.details.neededBytes).toBeGreaterThan(spare);
  });

  test.each([
    ['EACCES', 'ERR_ARGUMENT_INVALID', /refused it \(EACCES.*choose another folder/],
    ['EROFS', 'ERR_ARGUMENT_INVALID', /refused it \(EROFS/],
    ['ENOSPC', 'ERR_DISK_FULL', /GB are free/],
    ['EDQUOT', 'ERR_DISK_FULL', /EDQUOT.*quota/],
  ])('that cannot begin for %s says so and leaves no folder', async (code, expected, message) => {
    const folder = temporaryFolder();
    const { writeFile: write } = fs;
    mocked('writeFile', (...args) =>
      String(args[0]).includes('.out.lock')
        ? Promise.reject(Object.assign(new Error(`${code}: refused`), { code }))
        : write(...(args as Parameters<typeof write>)),
    );
    await expect(quantizeCheckpoint({ ...OPTIONS, output: join(folder, 'a', 'b', 'out') })).rejects.toMatchObject({
      code: expected,
      message: expect.stringMatching(message),
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('does not fail any more once the output is there, and leaves nothing that keeps the next from working', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const { rm } = fs;
    const restore = mocked('rm', (...args) =>
      String(args[0]).endsWith('.partial')
        ? Promise.reject(Object.assign(new Error('ENOTEMPTY: not empty'), { code: 'ENOTEMPTY' }))
        : rm(...(args as Parameters<typeof rm>)),
    );
    const log: string[] = [];
    await quantizeCheckpoint({ ...OPTIONS, output, logger: { log: (_, message) => log.push(message) } });
    expect(log.join()).toMatch(/\.out\.partial is not needed any more.*ENOTEMPTY/);
    restore();
    expect(readdirSync(folder)).toEqual(['.out.partial', 'out']);
    await expect(quantizeCheckpoint({ ...OPTIONS, output })).rejects.toThrow(/not empty/);
    expect(readdirSync(folder)).toEqual(['out']);
  });

  test('takes nothing of a run that was killed behind its last step for done', async () => {
    const folder = temporaryFolder();
    const output = join(folder, 'out');
    const { rm } = fs;
    const restore = mocked('rm', (...args) => {
      // As a kill between the rename and the removal: nothing of the folder is touched.
      if (existsSync(output) && String(args[0]).includes('.partial')) return Promise.reject(new Error('killed'));
      return rm(...(args as Parameters<typeof rm>));
    });
    await quantizeCheckpoint({ ...OPTIONS, output });
    restore();
    rmSync(output, { recursive: true });
    await quantizeCheckpoint({ ...OPTIONS, output });
    expect(hashOf(output)).toBe(await undisturbed());
    expect(readdirSync(folder)).toEqual(['out']);
  });

  test('tells why it failed, and not why it could not be removed', async () => {
    const source = copyCheckpoint();
    editTensors(join(source, 'model.safetensors'), (tensors) => {
      tensors.get('language_model.model.layers.3.mlp.up_proj.weight')!.data.writeFloatLE(Number.NaN, 400);
    });
    const { rm } = fs;
    mocked('rm', (...args) =>
      String(args[0]).endsWith('.partial') ? Promise.reject(new Error('no')) : rm(...(args as Parameters<typeof rm>)),
    );
    const run = quantizeCheckpoint({ ...OPTIONS, source, output: join(temporaryFolder(), 'out') });
    await expect(run).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
  });

  test('goes on over files that the source forbids to write', async () => {
    const source = copyCheckpoint();
    chmodSync(join(source, 'generation_config.json'), 0o444);
    const output = join(temporaryFolder(), 'out');
    await quantizeCheckpoint({ ...OPTIONS, source, output });
    expect(statSync(join(output, 'generation_config.json')).mode & 0o777).toBe(0o644);
  });

  test('makes the folder that a link leads to', async () => {
    const [folder, elsewhere] = [temporaryFolder(), temporaryFolder()];
    mkdirSync(join(elsewhere, 'there'));
    const link = join(folder, 'out');
    symlinkSync(join(elsewhere, 'there'), link);
    const seen: string[] = [];
    const onProgress = () => seen.push(...readdirSync(elsewhere));
    expect(await quantizeCheckpoint({ ...OPTIONS, output: link, onProgress })).toMatchObject({ directory: link });
    expect(seen).toContain('.there.partial');
    expect(readdirSync(folder)).toEqual(['out']);
    expect(readdirSync(elsewhere)).toEqual(['there']);
    expect(hashOf(link)).toBe(await undisturbed());

    symlinkSync(join(elsewhere, 'nothing'), join(folder, 'dangling'));
    await expect(quantizeCheckpoint({ ...OPTIONS, output: join(folder, 'dangling') })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringMatching(/dangling, a link to something that is not there/),
    });
  });

  test.each(['/proc', '/'])('refuses a mount point before it begins: %s', async (output) => {
    await expect(quantizeCheckpoint({ ...OPTIONS, output, source: '/nothing' })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringMatching(/is a mount point.*choose a folder inside it/),
    });
  });

  test('takes over a lock that was cut short, once it is not new any more', async () => {
    const folder = temporaryFolder();
    const lock = join(folder, '.out.lock');
    writeFileSync(lock, '{"pid":');
    const before = new Date(Date.now() - 60_000);
    utimesSync(lock, before, before);
    await quantizeCheckpoint({ ...OPTIONS, output: join(folder, 'out') });
    expect(readdirSync(folder)).toEqual(['out']);
  });
});

/** From the `writes`-th on, writing fails. */
async function diskThatFills(folder: string, writes: number) {
  const file = await fs.open(join(folder, 'any'), 'w');
  const prototype = Object.getPrototypeOf(file) as { write: (...args: unknown[]) => Promise<unknown> };
  await file.close();
  const { write } = prototype;
  let done = 0;
  const spy = vi.spyOn(prototype, 'write').mockImplementation(function (this: unknown, ...args: unknown[]) {
    done += 1;
    if (done <= writes) return write.apply(this, args);
    return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }));
  });
  onTestFinished(() => spy.mockRestore());
  return { writes: () => done, restore: () => spy.mockRestore() };
}

/** Puts something else in place of a function of the file system; what comes back restores it. */
function mocked(name: 'rm' | 'statfs' | 'writeFile', instead: (...args: unknown[]) => Promise<unknown>): () => void {
  const spy = vi.spyOn(fs, name).mockImplementation(instead as never);
  syncBuiltinESMExports();
  const restore = () => {
    spy.mockRestore();
    syncBuiltinESMExports();
  };
  onTestFinished(restore);
  return restore;
}

describe('the Llama licence', () => {
  test('is asked for last: nobody is asked for what cannot be done', async () => {
    const source = copyCheckpoint();
    writeFileSync(join(source, 'LICENSE.txt'), 'LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n…');
    const folder = temporaryFolder();
    const confirmLlamaLicense = vi.fn(async () => true);
    const attempt = (name: string, more: object) =>
      quantizeCheckpoint({ source, output: join(folder, name), groupSize: 32, confirmLlamaLicense, ...more });
    await expect(attempt('mine', {})).rejects.toThrow(/must begin with "Llama".*Llama-mine/);
    await expect(attempt('Llama-mine', { groupSize: 128 })).rejects.toThrow(/128 do not divide/);
    await expect(attempt('Llama-mine', { method: 'awq' })).rejects.toThrow(/needs pictures/);
    expect(confirmLlamaLicense).not.toHaveBeenCalled();
    await attempt('Llama-mine', {});
    expect(confirmLlamaLicense).toHaveBeenCalledOnce();
  });

  test('is confirmed by typing, with the notice for the European Union, and its papers come along', async () => {
    const source = copyCheckpoint();
    writeFileSync(join(source, 'LICENSE.txt'), 'LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n…');
    writeFileSync(join(source, 'USE_POLICY.md'), 'Llama 3.2 Acceptable Use Policy');
    writeFileSync(join(source, 'NOTICE'), 'their notice');
    const output = join(temporaryFolder(), 'Llama-out');
    const log: string[] = [];
    const run = (answer: string) =>
      quantizeCheckpoint({
        source,
        output,
        groupSize: 32,
        confirmLlamaLicense: licenceQuestion(async (question) => {
          expect(question).toContain('Type "I accept"');
          return answer;
        }),
        logger: { log: (_, message) => log.push(message) },
      });
    await expect(run('yes')).rejects.toMatchObject({
      code: 'ERR_LICENSE_NOT_ACCEPTED',
      message: expect.stringContaining('European Union'),
    });
    expect(log.join('\n')).toContain('European Union');
    await run('I accept\n');
    expect(readFileSync(join(output, 'USE_POLICY.md'), 'utf8')).toBe('Llama 3.2 Acceptable Use Policy');
    expect(readFileSync(join(output, 'NOTICE'), 'utf8')).toBe('their notice');
    expect(existsSync(join(output, 'LICENSE.txt'))).toBe(true);
  });
});
