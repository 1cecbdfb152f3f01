import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openCheckpoint } from 'scenebus';
import type { TensorRtStatus } from 'scenebus/tensorrt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildEngine, type EngineBuildParts } from '#device/platform/jetson/engine-build.js';
import { SdkError } from '#sdk/core/errors.js';
import type { Engine } from '#sdk/engine/engine.js';
import { forecastMemorySavings, forecastTensorRtMemory } from '#sdk/engine/index.js';
import { publishedShape } from '../../../../support/published-shape.js';
import { GOLDEN } from '../../../checkpoint/checkpoint-folder.js';

const tinyA = path.join(GOLDEN, 'tiny-a');
const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-build-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let leastBytes = 0;
beforeAll(async () => {
  const { model } = await openCheckpoint(tinyA);
  ({ leastBytes } = forecastTensorRtMemory(model, { contextLength: 64, mode: 'plugin' }));
});

const ready = (freeBytes: number, totalBytes = freeBytes): TensorRtStatus => ({
  compiledFor: '10.3.0',
  library: { path: '/usr/lib/libnvinfer.so.10', version: '10.3.0' },
  device: {
    name: 'Orin',
    smMajor: 8,
    smMinor: 7,
    smCount: 16,
    totalBytes,
    freeBytes,
    driverVersion: 12060,
    integrated: true,
    hasKernels: true,
  },
  l4tRelease: 'R36.4.3',
  powerMode: '0',
  problem: null,
});

async function build(parts: Partial<EngineBuildParts>, files: Readonly<Record<string, string>> = {}) {
  const lines: string[] = [];
  const calls: string[] = [];
  const all: EngineBuildParts = {
    machine: { readText: async (file) => files[file] ?? null },
    status: () => ready(60e9),
    prepareGraphs: async () => {
      calls.push('graphs');
      return '/cache/tensorrt/key';
    },
    openEngine: async (_, options) => {
      calls.push(`open ${options?.mode} ${options?.contextLength}`);
      const info = { device: 'Orin, TensorRT 10.3.0, own kernels', contextLength: 64 };
      return { info, [Symbol.asyncDispose]: async () => void calls.push('closed') } as unknown as Engine;
    },
    ...parts,
  };
  const options = { model: tinyA, mode: 'auto', contextLength: 64 } as const;
  const error = await buildEngine(options, (line) => lines.push(line), all).catch((reason: unknown) => reason);
  return { lines, calls, error: error as SdkError | undefined };
}

describe('build-engine', () => {
  test('forecasts, names the device, builds and closes', async () => {
    const { lines, calls, error } = await build({});
    expect(error).toBeUndefined();
    expect(calls).toEqual(['open auto 64', 'closed']);
    expect(lines[0]).toBe('Memory for tiny-a (16 bits, 64 tokens of context):');
    expect(lines.join('\n')).toMatch(
      /decoder layers .*\n.*lm_head .*\n.*vision weights .*\n.*K\/V .*\n.*cross K\/V .*\n.*scratch .*\n.*embeddings /,
    );
    expect(lines).toContain('What would need less:');
    expect(lines).toContain('Device: Orin, 60.00 GB of 60.00 GB free');
    expect(lines.at(-1)).toBe('Ready: Orin, TensorRT 10.3.0, own kernels, 64 tokens of context');
  });

  test('without a device writes the graphs and says what is missing', async () => {
    const problem = { code: 'ERR_NATIVE_UNAVAILABLE', message: 'libnvinfer.so.10 was not found: sudo apt install …' };
    for (const status of [
      () => ({ ...ready(1), device: null, library: null, problem }),
      () => {
        throw new SdkError('ERR_NATIVE_UNAVAILABLE', problem.message);
      },
    ]) {
      const { lines, calls, error } = await build({ status });
      expect(calls).toEqual(['graphs']);
      expect(lines).toContain('Graphs: /cache/tensorrt/key');
      expect(error).toMatchObject({ code: 'ERR_NATIVE_UNAVAILABLE', message: problem.message });
    }
  });

  test('refuses what cannot fit, and names modules', async () => {
    const tooSmall = await build({ status: () => ready(leastBytes - 1) });
    expect(tooSmall.calls).toEqual([]);
    expect(tooSmall.error).toMatchObject({ code: 'ERR_ENGINE_OUT_OF_MEMORY' });
    expect(tooSmall.error?.message).toContain('It fits every Orin module.');
    expect(tooSmall.error?.message).not.toContain('End other programs');
    const busy = await build({ status: () => ready(leastBytes - 1, 60e9) });
    expect(busy.error?.message).toContain('End other programs');
    expect((await build({ status: () => ready(leastBytes) })).error).toBeUndefined();
  });

  test('refuses an old JetPack before anything is built, and tells of a slow power mode', async () => {
    const files = (revision: string) => ({
      '/etc/nv_tegra_release': `# R36 (release), REVISION: ${revision}, GCID: 1`,
      '/var/lib/nvpmodel/status': 'pmode:0001',
      '/etc/nvpmodel.conf': '< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=15W >\n',
    });
    const old = await build({}, files('3.0'));
    expect(old.calls).toEqual([]);
    expect(old.error).toMatchObject({
      code: 'ERR_ENGINE_INCOMPATIBLE',
      message: expect.stringContaining('JetPack 6.0'),
    });
    const slow = await build({}, files('4.3'));
    expect(slow.error).toBeUndefined();
    expect(slow.lines.join('\n')).toContain('power mode 15W (1)\n  the power mode limits clocks: `sudo nvpmodel -m 0`');
  });
});

describe('memory forecast of the published 11B shape at int4', () => {
  const model = publishedShape();
  const bytes = (mode: 'plugin' | 'native', contextLength = 4096) =>
    forecastTensorRtMemory(model, { contextLength, mode });
  const part = (name: string) => bytes('plugin').parts.find((each) => each.name === name)!.leastBytes;

  test('counts what the model is known to need', () => {
    expect(part('decoder layers') / 1e9).toBeCloseTo(4.5, 1);
    expect(part('lm_head')).toBe(128_256 * 4096 * 2);
    // A row of each token that the context can hold, of a table that stays in its file.
    expect(part('embeddings (rows of the file)')).toBe(4096 * 4096 * 2);
    expect(part('vision weights') / 1e9).toBeCloseTo(1.8, 1);
    // 32 self layers, 8 heads of 128, keys and values in 16 bits.
    expect(part('K/V')).toBe(32 * 2 * 8 * 128 * 4096 * 2);
    // Two pictures of 6404 positions in 8 layers.
    expect(part('cross K/V')).toBe(2 * 8 * 2 * 8 * 128 * 6404 * 2);
    expect(bytes('plugin').leastBytes / 1e9).toBeGreaterThan(8);
    expect(bytes('plugin').leastBytes / 1e9).toBeLessThan(10);
  });

  test('grows with the context, and in native mode with the scores of attention', () => {
    const rows = part('embeddings (rows of the file)');
    expect(bytes('plugin', 8192).leastBytes - bytes('plugin').leastBytes).toBe(part('K/V') + rows);
    // Standard operators keep the past K/V beside the present.
    expect(bytes('native').leastBytes - bytes('plugin').leastBytes).toBe(part('K/V'));
    // Engines share their scratch: in plugin mode that of the vision tower, with standard operators that of long contexts.
    const scratch = (mode: 'plugin' | 'native') =>
      bytes(mode, 131_072).parts.find(({ name }) => name === 'scratch')!.mostBytes;
    expect(scratch('native')).toBeGreaterThan(scratch('plugin'));
  });

  test('says what needs less: the 11B model in 6.3 GB with a picture and 2048 tokens', () => {
    const options = { contextLength: 2048, mode: 'plugin' } as const;
    const savings = forecastMemorySavings(model, options);
    expect(savings.map(({ name }) => name)).toEqual([
      'lm_head in int4',
      'vision tower in int8',
      'one picture at a time',
      'positions of tiles by row',
      'pictures of at most two tiles',
      'embeddings in int8',
    ]);
    const saved = (name: string) => savings.find((each) => each.name === name)!.savedBytes;
    expect(saved('lm_head in int4')).toBe(128_256 * 4096 * (2 - 0.5 - 2 / 128));
    // Its products are all of the tower but the positions of tiles, half of their bytes.
    expect(saved('vision tower in int8') / 1e9).toBeCloseTo(0.82, 2);
    expect(saved('one picture at a time')).toBe(8 * 2 * 8 * 128 * 6404 * 2);
    expect(saved('positions of tiles by row')).toBe(8 * 8_197_120 * 2);
    // Each line counts with those above it.
    const together = savings.map(({ leastBytes }) => leastBytes);
    expect(together).toEqual([...together].sort((a, b) => b - a));
    const enough = savings.findIndex(({ leastBytes }) => leastBytes <= 6.3e9);
    expect(savings[enough]?.name).toBe('pictures of at most two tiles');
    expect(savings.filter(({ how }) => how !== null).map(({ name }) => name)).toEqual(['lm_head in int4']);
  });

  test('has nothing to say of a head that is in int4 already, and of a tower that nobody asked for', () => {
    const tensors = new Map(model.tensors);
    const head = 'language_model.lm_head';
    const place = tensors.get(`${head}.weight`)!;
    tensors.delete(`${head}.weight`);
    tensors.set(`${head}.weight_packed`, { ...place, dtype: 'I32', shape: [128_256, 512], sizeBytes: 128_256 * 2048 });
    tensors.set(`${head}.weight_scale`, { ...place, shape: [128_256, 32], sizeBytes: 128_256 * 64 });
    const names = forecastMemorySavings({ ...model, tensors }, { contextLength: 2048, mode: 'plugin' });
    expect(names.map(({ name }) => name)).not.toContain('lm_head in int4');
  });
});
