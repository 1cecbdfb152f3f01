import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { formatSelfTest } from '#device/cli/self-test-output.js';
import type { SdkError } from '#sdk/core/errors.js';
import type { LogLevel } from '#sdk/core/logger.js';
import type { TensorRtHost } from '#sdk/engine/tensorrt/host.js';
import { tensorRtSelfTestOn } from '#sdk/engine/tensorrt/public.js';
import { compareSamples, describeCheck, firstFailure, TOLERANCE } from '#sdk/engine/tensorrt/self-test/compare.js';
import { chooseTestedMode } from '#sdk/engine/tensorrt/self-test/gate.js';
import { runIsolatedSelfTest } from '#sdk/engine/tensorrt/self-test/isolated.js';
import { recordedSamples } from '#sdk/engine/tensorrt/self-test/recording.js';
import { WIDE_VISION } from '#sdk/engine/tensorrt/self-test/scenario.js';
import { runSelfTest } from '#sdk/engine/tensorrt/self-test/self-test.js';
import { requirePlatform } from '#sdk/engine/tensorrt/status.js';
import { referencePicture, referenceSamples } from '../../../support/record-self-test.js';
import { type ExecutorOptions, NativeError, TensorRtExecutor } from '../../../support/tensorrt-executor.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-self-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');

function host(options: ExecutorOptions = {}, identity = 'test'): TensorRtHost & { addon: TensorRtExecutor } {
  return { addon: new TensorRtExecutor(options), identity, testsLargePicture: false };
}

const ofSmallModel = recordedSamples().filter(({ name }) => !name.startsWith(WIDE_VISION));
const ofLargePicture = recordedSamples().filter(({ name }) => name.startsWith(WIDE_VISION));

/** A kernel that takes the weights of one layer wrongly: words of neighbouring outputs change places. */
const wrongLayer: ExecutorOptions['onWeight'] = (name, data) => {
  if (name === 'language_model.model.layers.2.self_attn.k_proj.weight_packed') (data as Int32Array).reverse();
};
/** A runtime that gets it wrong from the start, whatever the mode. */
const wrongEverywhere: ExecutorOptions['onStep'] = (_, inputs) => {
  const embeddings = inputs.inputs_embeds?.data as Float32Array | undefined;
  if (embeddings !== undefined) for (let i = 0; i < embeddings.length; i += 8) embeddings[i] = 0;
};

function choose(on: TensorRtHost, cache: string, mode: 'auto' | 'plugin' | 'native' = 'auto') {
  const log: string[] = [];
  const logger = { log: (_: LogLevel, message: string) => void log.push(message) };
  const platform = requirePlatform(on.addon);
  return { log, mode: chooseTestedMode(on, platform, mode, { cacheDirectory: cache, logger }) };
}

describe('recorded values', () => {
  test('are what the reference backend gives', async () => {
    const samples = await referenceSamples(path.join(folder, 'reference'));
    expect(samples.map(({ name }) => name)).toEqual(ofSmallModel.map(({ name }) => name));
    // Kept as float16: half a step is 2⁻¹¹.
    for (const { error } of compareSamples(samples, ofSmallModel)) expect(error).toBeLessThan(5e-4);
  });

  test('of the large picture too', { timeout: 180_000 }, async () => {
    const samples = await referencePicture(path.join(folder, 'reference-wide'));
    expect(samples.map(({ name }) => name)).toEqual(ofLargePicture.map(({ name }) => name));
    for (const { error } of compareSamples(samples, ofLargePicture)) expect(error).toBeLessThan(5e-4);
  });

  test('cover every layer of every sort of call', () => {
    const names = recordedSamples().map(({ name }) => name);
    for (const call of ['prefill', 'decode', 'verify', 'continue']) {
      for (const layer of [0, 1, 2, 3]) expect(names).toContain(`${call}: text.after_layer_${layer}`);
    }
    expect(names).toContain('text prefill: logits');
    expect(names).toContain('encode: cross_attention_states');
  });
});

describe('comparison', () => {
  const recorded = [{ name: 'decode: text.after_layer_1', values: Float32Array.of(3, 4) }];
  const check = (...values: number[]) =>
    compareSamples([{ name: recorded[0]!.name, values: Float32Array.from(values) }], recorded);

  test('measures relative to the whole vector and names what differs most', () => {
    expect(check(3, 4.05)[0]).toMatchObject({ error: expect.closeTo(0.01, 4), tolerance: TOLERANCE.text });
    expect(firstFailure(check(3, 4.05))).toBeUndefined();
    expect(describeCheck(firstFailure(check(3, 5))!)).toBe(
      'layer 1 (cross-attention) of decode: relative error 0.200, at most 0.015 (found 5.000, expected 4.000)',
    );
  });

  test('lets neither NaN nor a missing value pass', () => {
    expect(firstFailure(check(3, Number.NaN))).toBeDefined();
    expect(firstFailure(check(3))).toBeDefined();
    expect(firstFailure(compareSamples([], [{ name: 'decode: logits', values: Float32Array.of(1) }]))).toBeDefined();
  });
});

describe('on the graphs in ONNX Runtime', () => {
  test.each(['plugin', 'native'] as const)(
    '%s mode passes, layer by layer, well within the tolerance',
    async (mode) => {
      const on = host();
      const { checks, reason } = await runSelfTest(on, { mode, layers: true, cacheDirectory });
      expect(reason).toBeNull();
      expect(checks).toHaveLength(ofSmallModel.length);
      const worst = Math.max(...checks.map(({ error }) => error));
      expect(worst).toBeLessThan(TOLERANCE.text / 3);
      // A float16 that was none would be exact.
      expect(worst).toBeGreaterThan(1e-4);
      expect(on.addon.live).toEqual([]);
    },
  );

  test('encodes a picture of the published size, and sees what only many tokens show', {
    timeout: 180_000,
  }, async () => {
    const cache = path.join(folder, 'wide');
    const whole = { ...host(), testsLargePicture: true };
    const { checks, reason } = await runSelfTest(whole, { mode: 'native', layers: true, cacheDirectory: cache });
    expect(reason).toBeNull();
    const ofPicture = checks.filter(({ name }) => name.startsWith(WIDE_VISION));
    expect(ofPicture.map(({ name }) => name)).toEqual(ofLargePicture.map(({ name }) => name));
    for (const { error } of ofPicture) expect(error).toBeLessThan(TOLERANCE.vision / 10);
    expect(whole.addon.live).toEqual([]);

    // An attention that weighs the last keys of long rows wrongly: no picture of the small model has so many tokens.
    const long: ExecutorOptions['onStep'] = (_, inputs) => {
      if ((inputs.real_bias?.dims[0] ?? 0) > 1024) (inputs.padding_bias!.data as Float32Array).fill(8);
    };
    const faulty = { ...host({ onStep: long }), testsLargePicture: true };
    const found = await runSelfTest(faulty, { mode: 'native', layers: false, cacheDirectory: cache });
    expect(found.reason).toMatch(/^the vision features of a picture of 560 px: relative error \d/);
    const blind = await runSelfTest(host({ onStep: long }), { mode: 'native', layers: false, cacheDirectory: cache });
    expect(blind.reason).toBeNull();
  });

  test('is done once for a device, and again for other kernels', async () => {
    const cache = path.join(folder, 'once');
    const first = host();
    expect(await choose(first, cache).mode).toBe('plugin');
    expect(first.addon.steps.length).toBeGreaterThan(0);
    const second = host();
    expect(await choose(second, cache).mode).toBe('plugin');
    expect(second.addon.steps).toEqual([]);
    const rebuilt = host({}, 'other kernels');
    expect(await choose(rebuilt, cache).mode).toBe('plugin');
    expect(rebuilt.addon.steps.length).toBeGreaterThan(0);
  });

  test('refuses kernels that get a layer wrong, names it, and takes standard operators', async () => {
    const on = host({ onWeight: wrongLayer }, 'wrong layer');
    const { log, mode } = choose(on, cacheDirectory);
    expect(await mode).toBe('native');
    expect(log).toContainEqual(
      expect.stringMatching(
        /failed in plugin mode: layer 2 \(self-attention\) of prefill: relative error 0\.\d+, at most/,
      ),
    );
    expect(on.addon.live).toEqual([]);
    // Remembered: the next start does not run what failed.
    const again = host({ onWeight: wrongLayer }, 'wrong layer');
    expect(await choose(again, cacheDirectory).mode).toBe('native');
    expect(again.addon.steps).toEqual([]);
    await expect(choose(again, cacheDirectory, 'plugin').mode).rejects.toMatchObject({
      code: 'ERR_ENGINE_INCOMPATIBLE',
    });
  });

  test('refuses to serve when both modes are wrong, with the first layer and the numbers of each', {
    timeout: 180_000,
  }, async () => {
    const on = host({ onStep: wrongEverywhere }, 'wrong everywhere');
    const refused = choose(on, cacheDirectory).mode.catch((error: unknown) => error);
    const { code, message } = (await refused) as SdkError;
    expect(code).toBe('ERR_ENGINE_INCOMPATIBLE');
    expect(message).toMatch(/plugin mode: layer 0 \(self-attention\) of prefill: relative error 0\.\d+, at most/);
    expect(message).toMatch(/native mode: layer 0 \(self-attention\) of prefill: relative error 0\.\d+, at most/);
    expect(on.addon.live).toEqual([]);
  });

  test('refuses a mode whose K/V are copied, though its values are right', async () => {
    const on = host({ keyValueCopies: 4 }, 'copies');
    const { log, mode } = choose(on, path.join(folder, 'copies'));
    expect(await mode).toBe('native');
    expect(log).toContainEqual(
      expect.stringContaining('plugin mode: K/V caches were copied 4 times instead of being written in place'),
    );
  });

  test('takes a plan that is refused for a mode that failed, and no memory for no verdict', async () => {
    const refuse: ExecutorOptions['onBuild'] = ({ plugins }) => {
      if (plugins) throw new NativeError('ERR_MODEL_UNSUPPORTED', 'no plugin creator for KvAttention');
    };
    const refused = choose(host({ onBuild: refuse }, 'refused'), path.join(folder, 'refused'));
    expect(await refused.mode).toBe('native');
    expect(refused.log).toContainEqual(expect.stringContaining('No plugin creator for KvAttention'));

    const noMemory = path.join(folder, 'no-memory');
    const onOpen = () => {
      throw new NativeError('ERR_ENGINE_OUT_OF_MEMORY', 'no memory');
    };
    const full = choose(host({ onOpen }), noMemory);
    await expect(full.mode).rejects.toMatchObject({ code: 'ERR_ENGINE_OUT_OF_MEMORY' });
    expect(readdirSync(path.join(noMemory, 'tensorrt-self-test')).filter((name) => name.endsWith('.json'))).toEqual([]);
  });

  test('on request runs layer by layer and as it serves, and remembers that', async () => {
    const cache = path.join(folder, 'on-request');
    const reports = await tensorRtSelfTestOn(host({}, 'on request'), { cacheDirectory: cache });
    expect(reports.map(({ mode, layers, reason }) => [mode, layers, reason])).toEqual([
      ['plugin', true, null],
      ['plugin', false, null],
    ]);
    const lines = formatSelfTest(reports);
    expect(lines[0]).toBe('plugin mode, layer by layer: passed');
    expect(lines).toContainEqual(
      expect.stringMatching(/^ {2}ok {3}prefill: text\.after_layer_2 +relative error \d\.\de-4/),
    );
    expect(lines.at(-1)).toBe('This device serves in plugin mode.');
    const after = host({}, 'on request');
    expect(await choose(after, cache).mode).toBe('plugin');
    expect(after.addon.steps).toEqual([]);
  });

  test('takes nothing for a verdict that a failed context says', async () => {
    const cache = path.join(folder, 'poisoned');
    let steps = 0;
    const onStep = () => {
      steps += 1;
      throw new NativeError('ERR_ENGINE_DIED', 'CUDA_ERROR_ILLEGAL_ADDRESS');
    };
    const poisoned = choose(host({ onStep }, 'poisoned'), cache);
    await expect(poisoned.mode).rejects.toThrow('the device failed: restart the process');
    expect(steps).toBe(1);
    // A new process remembers the mode that failed, and finds the other healthy.
    expect(await choose(host({}, 'poisoned'), cache).mode).toBe('native');
  });

  test('in processes of their own, one mode that dies leaves the other its verdict', async () => {
    const cache = path.join(folder, 'isolated');
    const asked: string[] = [];
    const on: TensorRtHost = {
      ...host({}, 'isolated'),
      async runSelfTest({ mode, layers }) {
        asked.push(mode);
        const isDeviceFailure = mode === 'plugin';
        return { mode, layers, checks: [], reason: isDeviceFailure ? 'died' : null, isDeviceFailure };
      },
    };
    expect(await choose(on, cache).mode).toBe('native');
    expect(await choose(on, cache).mode).toBe('native');
    expect(asked).toEqual(['plugin', 'native']);
  });

  test('counts a test that was begun and never ended as failed, unless it still runs', async () => {
    const cache = path.join(folder, 'stale');
    const asked: string[] = [];
    let during: string[] = [];
    const inFolder = () => readdirSync(path.join(cache, 'tensorrt-self-test'));
    const on: TensorRtHost = {
      ...host({}, 'stale'),
      async runSelfTest({ mode, layers }) {
        asked.push(mode);
        during = inFolder();
        return { mode, layers, checks: [], reason: null, isDeviceFailure: false };
      },
    };
    expect(await choose(on, cache, 'plugin').mode).toBe('plugin');
    const [marker] = during.filter((name) => name.endsWith('.started'));
    expect(marker).toBeDefined();
    expect(inFolder()).toEqual([marker!.replace('.started', '')]);

    const verdict = path.join(cache, 'tensorrt-self-test', marker!.replace('.started', ''));
    const leave = (pid: number, bootId: string) => {
      rmSync(verdict, { force: true });
      writeFileSync(`${verdict}.started`, JSON.stringify({ pid, bootId }));
    };
    leave(1, readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
    expect(await choose(on, cache, 'plugin').mode).toBe('plugin');
    leave(1, 'an earlier start');
    await expect(choose(on, cache, 'plugin').mode).rejects.toThrow('was begun and never ended');
    expect(asked).toEqual(['plugin', 'plugin']);
    expect(JSON.parse(readFileSync(verdict, 'utf8'))).toMatchObject({ passed: false });
  });

  test('asks a process of its own, tells what it reports, and takes its death for a failure', async () => {
    const entry = (source: string) => {
      const file = path.join(folder, `child-${source.length}.mjs`);
      writeFileSync(file, source);
      return pathToFileURL(file);
    };
    const options = { mode: 'plugin', layers: false, cacheDirectory: folder } as const;
    const report = { mode: 'plugin', layers: false, checks: [], reason: null, isDeviceFailure: false };
    const beats = "setInterval(() => process.send({ type: 'beat' }), 100).unref();";
    const answers = entry(
      `${beats} process.on('message', (m) => { if (m.type === 'self-test') process.send({ type: 'report', report: ${JSON.stringify(report)} }); else process.exit(0); });`,
    );
    expect(await runIsolatedSelfTest(options, answers)).toEqual(report);
    const dies = entry("process.on('message', () => process.kill(process.pid, 'SIGSEGV'));");
    const died = await runIsolatedSelfTest(options, dies);
    expect(died).toMatchObject({ mode: 'plugin', checks: [], isDeviceFailure: true });
    expect(died.reason).toContain('SIGSEGV');
    const refuses = entry(
      "process.on('message', () => process.send({ type: 'error', code: 'ERR_DISK_FULL', message: 'no room' }));",
    );
    await expect(runIsolatedSelfTest(options, refuses)).rejects.toMatchObject({ code: 'ERR_DISK_FULL' });
  });

  test('has no plugin mode where the addon has no kernels', async () => {
    const device = { ...new TensorRtExecutor().tensorRtStatus().device!, hasKernels: false };
    const on = host({ status: { device } }, 'no kernels');
    expect(await choose(on, cacheDirectory).mode).toBe('native');
    await expect(choose(on, cacheDirectory, 'plugin').mode).rejects.toThrow('built without CUDA kernels');
  });
});
