import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  formatVerifyReport,
  type VerifyOptions,
  type VerifyReport,
  verifyCheckpoint,
} from '#calibration/verify/index.js';
import { editJson, editTensors, GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-verify-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');
const tinyA = { checkpointDir: path.join(GOLDEN, 'tiny-a'), casesDir: path.join(GOLDEN, 'cases-tiny-a') };

const verify = (options: Partial<VerifyOptions> = {}) => verifyCheckpoint({ ...tinyA, cacheDirectory, ...options });
const misses = (report: VerifyReport) => report.checks.filter((check) => !check.passed).map((check) => check.case);
const find = (report: VerifyReport, name: string, numerics: string | null) => {
  return report.checks.find((check) => check.case === name && check.numerics === numerics)!;
};

describe('tiny-a, float32', () => {
  let report: VerifyReport;
  beforeAll(async () => {
    report = await verify();
  });

  test('every tensor within 1e-4 and every token equal, under hf-4.45 and meta', () => {
    expect(report.tolerance).toBe(1e-4);
    expect(misses(report)).toEqual([]);
    expect(report.passed).toBe(true);
    expect(report.notCompared).toEqual([]);

    const prompts = readdirSync(tinyA.casesDir)
      .map((file) => /^case_(.+)\.safetensors$/.exec(file)?.[1])
      .filter((name) => name !== undefined);
    expect(prompts).toHaveLength(9);
    for (const numerics of ['hf-4.45', 'meta'] as const) {
      const cases = report.checks.filter((check) => check.numerics === numerics);
      expect(cases.map((check) => check.case).sort()).toEqual(prompts.sort());
      for (const check of cases) {
        expect(check.tokensEqual).toBe(true);
        expect(check.maxAbsDifference).toBeLessThan(1e-4);
      }
    }
    expect(report.checks.filter((check) => check.case.startsWith('vision '))).toHaveLength(8);
    expect(report.checks.filter((check) => check.case.startsWith('processor '))).toHaveLength(27);
    expect(report.checks.filter((check) => check.case.startsWith('rope '))).toHaveLength(2);
  });

  test('tensors inside the model are among those compared', () => {
    const chat = find(report, 'img1_chat', 'hf-4.45').tensors.map((tensor) => tensor.name);
    const layers = [0, 1, 2, 3, 4].map((layer) => `text.after_layer_${layer}`);
    const expected = ['pixel_values[0]', 'cross_attention_states', 'prefill_logits', 'decode_logits', ...layers];
    expect(chat).toEqual(expect.arrayContaining([...expected, 'text.after_final_norm']));
    const vision = find(report, 'vision h1w2', null).tensors.map((tensor) => tensor.name);
    expect(vision).toEqual(
      expect.arrayContaining([
        'after_layernorm_pre',
        'after_local_layer_2',
        'after_post_tile_embedding',
        'after_global_layer_1',
        'last_hidden_state',
        'cross_attention_states',
      ]),
    );
  });

  test('the table names each case and the verdict', () => {
    const text = formatVerifyReport(report);
    expect(text).toMatch(/^case +numerics +tensors +max abs diff +tokens equal$/m);
    expect(text).toMatch(/^img1_chat +hf-4\.45 +\d+ +\d\.\de-\d+ +yes +ok$/m);
    expect(text).toMatch(/^img1_chat +meta +\d+ +\d\.\de-\d+ +yes +ok$/m);
    expect(text).toMatch(/checks passed, every tensor within 0\.0001\.$/);
  });
});

test('tiny-a-bf16: three shards, weights of 16 bits', async () => {
  const checkpointDir = path.join(GOLDEN, 'tiny-a-bf16');
  const report = await verify({ checkpointDir, casesDir: path.join(GOLDEN, 'cases-tiny-a-bf16') });
  expect(misses(report)).toEqual([]);
  expect(find(report, 'img1_chat', 'meta').tokensEqual).toBe(true);
});

test('a folder that holds cases-<checkpoint> is enough', async () => {
  const report = await verify({ casesDir: GOLDEN });
  expect(report.passed).toBe(true);
  expect(find(report, 'text_only', 'meta').passed).toBe(true);
});

describe('what is wrong is found', () => {
  test('weights of another checkpoint', async () => {
    const report = await verify({ checkpointDir: path.join(GOLDEN, 'tiny-a-bf16') });
    expect(report.passed).toBe(false);
    expect(misses(report)).toEqual(expect.arrayContaining(['vision h1w1', 'img1_chat', 'text_only']));
    expect(formatVerifyReport(report)).toMatch(/^\d+ of \d+ checks missed \(tolerance 0\.0001\)\.$/m);
  });

  test('the order of taps of newer releases', async () => {
    const report = await verify({ mainNumerics: 'hf-5' });
    expect(misses(report)).toEqual(expect.arrayContaining(['vision h1w1', 'img1_first']));
    expect(find(report, 'text_only', 'hf-5').passed).toBe(true);
  });

  test('tanh in place of the exact GELU', async () => {
    // Graphs come from the cache: swap the one attribute there, as if the graph had been written so.
    const spoiled = path.join(folder, 'spoiled');
    await verify({ cacheDirectory: spoiled });
    for (const entry of readdirSync(path.join(spoiled, 'onnx'))) {
      const index = path.join(spoiled, 'onnx', entry, 'prepared.json');
      const graph = path.join(spoiled, 'onnx', entry, 'vision.0.onnx');
      const bytes = Buffer.from(readFileSync(graph).toString('latin1').replaceAll('none', 'tanh'), 'latin1');
      expect(bytes.equals(readFileSync(graph))).toBe(false);
      writeFileSync(graph, bytes);
      editJson(index, (value) => {
        value.files['vision.0.onnx'] = createHash('sha256').update(bytes).digest('hex');
      });
    }
    const report = await verify({ cacheDirectory: spoiled });
    expect(misses(report)).toEqual(expect.arrayContaining(['vision h1w1', 'img1_first']));
    expect(find(report, 'vision h1w1', null).maxAbsDifference).toBeGreaterThan(1e-4);
    expect(find(report, 'text_only', 'meta').passed).toBe(true);
  });

  test('one wrong logit, one wrong token, one wrong pixel', async () => {
    const casesDir = path.join(folder, 'cases-tiny-a');
    mkdirSync(casesDir);
    for (const name of ['img1_chat', 'text_only', 'masked_rows', 'img_last']) {
      for (const ending of ['json', 'safetensors']) {
        cpSync(path.join(tinyA.casesDir, `case_${name}.${ending}`), path.join(casesDir, `case_${name}.${ending}`));
      }
    }
    cpSync(path.join(tinyA.casesDir, 'images'), path.join(casesDir, 'images'), { recursive: true });
    const spoil = (name: string, tensor: string, edit: (data: Buffer) => void) =>
      editTensors(path.join(casesDir, `case_${name}.safetensors`), (tensors) => edit(tensors.get(tensor)!.data));
    spoil('img1_chat', 'prefill_logits', (data) => data.writeFloatLE(data.readFloatLE(400) + 2e-4, 400));
    spoil('text_only', 'decode_tokens', (data) => data.writeInt32LE((data.readInt32LE(8) + 1) % 500, 8));
    spoil('img_last', 'pixel_values', (data) => data.writeFloatLE(data.readFloatLE(0) + 0.0146, 0));
    const report = await verify({ casesDir });
    expect(new Set(misses(report))).toEqual(new Set(['img1_chat', 'text_only', 'img_last']));
    expect(find(report, 'img1_chat', 'hf-4.45').note).toContain('prefill_logits');
    expect(find(report, 'text_only', 'meta').tokensEqual).toBe(false);
    expect(find(report, 'img_last', 'meta').note).toContain('pixel_values');
    expect(find(report, 'masked_rows', 'meta').passed).toBe(true);
  });

  test('a folder without cases, a case without its prompt, a bad tolerance', async () => {
    const empty = path.join(folder, 'empty', 'inner');
    mkdirSync(empty, { recursive: true });
    const invalid = { code: 'ERR_ARGUMENT_INVALID' };
    await expect(verify({ casesDir: empty })).rejects.toMatchObject(invalid);
    await expect(verify({ casesDir: path.join(folder, 'nowhere') })).rejects.toMatchObject(invalid);
    await expect(verify({ tolerance: 0 })).rejects.toMatchObject(invalid);
    cpSync(path.join(tinyA.casesDir, 'case_text_only.safetensors'), path.join(empty, 'case_x.safetensors'));
    editTensors(path.join(empty, 'case_x.safetensors'), (tensors) => tensors.delete('input_ids'));
    await expect(verify({ casesDir: empty })).rejects.toMatchObject(invalid);
  });
});
