import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { adjustedBytes, adjustedRows } from '#calibration/quantize/adjustments.js';
import { calibrate } from '#calibration/quantize/awq.js';
import { groupGrams } from '#calibration/quantize/awq-search.js';
import { boundedScenes, type CalibrationScene, readCalibration } from '#calibration/quantize/calibration-samples.js';
import { calibrationScenes } from '#calibration/quantize/calibration-set.js';
import { compare, klDivergence, predict } from '#calibration/quantize/divergence.js';
import { feedbackFactors, roundWithFeedback } from '#calibration/quantize/error-feedback.js';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { quantizeReport } from '#calibration/quantize/report.js';
import { bf16Value, groupScales, quantizeRows } from '#calibration/quantize/round-to-nearest.js';
import { RowSample } from '#calibration/quantize/row-sample.js';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import { createRandom } from '#sdk/core/random.js';
import { randomScenes } from '../../../support/calibration-scenes.js';
import { copyCheckpoint, editTensors, GOLDEN, temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const TINY = join(GOLDEN, 'tiny-a');
const DEMO = fileURLToPath(new URL('../../../../examples/demo-model', import.meta.url));

/** A model as real ones are: a few channels carry far larger activations than the rest. */
function withOutliers(): string {
  const folder = copyCheckpoint();
  editTensors(join(folder, 'model.safetensors'), (tensors) => {
    for (const [name, { data, shape }] of tensors) {
      const rowFloats = shape.length === 2 ? shape[1]! : 1;
      const isRowed = /language_model.*(v_proj|up_proj)\.weight$/.test(name);
      if (!isRowed && !/language_model.*(input_layernorm|post_attention_layernorm)\.weight$/.test(name)) continue;
      for (const row of [3, 17]) {
        for (let i = row * rowFloats; i < (row + 1) * rowFloats; i++) {
          data.writeFloatLE(data.readFloatLE(4 * i) * 40, 4 * i);
        }
      }
    }
  });
  return folder;
}

describe('calibrate', () => {
  test('folds factors so that the float model stays the same, cross layers and shared key/value heads included', async () => {
    const source = withOutliers();
    const checkpoint = await openCheckpoint(source);
    const scenes = randomScenes(checkpoint.model, 4, 1);
    const workDirectory = temporaryFolder();
    const options = {
      groupSize: 32,
      lmHead: 'int4',
      workDirectory,
      threads: 1,
    } as const;
    const adjustments = await calibrate(checkpoint, scenes, options);

    const folded = copyCheckpoint();
    const changed = new Set<string>();
    editTensors(join(folded, 'model.safetensors'), (tensors) => {
      for (const [name, tensor] of tensors) {
        const norm = adjustments.get(`${name}:folded`);
        const input = adjustments.get(`${name}:input`);
        const original = checkpoint.model.tensors.get(name);
        let values = original === undefined ? undefined : readTensorF32(original);
        if (norm !== undefined) {
          values = Float32Array.from(new Uint16Array(adjustedBytes(norm).buffer), bf16Value);
        } else if (input !== undefined) {
          const scales = { input: readTensorF32(input), output: readTensorF32(adjustments.get(`${name}:output`)!) };
          values = adjustedRows(original!, { first: 0, count: original!.shape[0]! }, scales);
          const kind = name.split('.').slice(-2)[0]!;
          if (scales.input.some((factor) => factor > 1.5)) changed.add(`${kind} columns`);
          if (scales.output.some((factor) => factor > 1.5)) changed.add(`${kind} rows`);
        }
        if (values !== undefined) tensor.data = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
      }
    });
    // Else nothing would have been tested.
    for (const place of ['q_proj columns', 'o_proj columns', 'v_proj rows', 'gate_proj columns', 'up_proj columns']) {
      expect([...changed]).toContain(place);
    }
    expect([...changed]).toContain('down_proj columns');
    expect([...changed]).toContain('up_proj rows');

    const measured = randomScenes(checkpoint.model, 2, 2);
    const before = await predict(checkpoint, measured, { cacheDirectory: workDirectory, threads: 1 });
    const after = await predict(await openCheckpoint(folded), measured, { cacheDirectory: workDirectory, threads: 1 });
    const largest = Math.max(...before.flatMap((logits) => Array.from(logits, Math.abs)));
    for (const [index, logits] of before.entries()) {
      const difference = Math.max(...logits.map((value, i) => Math.abs(value - after[index]![i]!)));
      expect(difference).toBeLessThan(1e-4 * Math.max(1, largest));
      expect(difference).toBeGreaterThan(0); // it is another model
    }
  });

  test('never scales the inputs of cross keys and values, which several layers share', async () => {
    const checkpoint = await openCheckpoint(withOutliers());
    const workDirectory = temporaryFolder();
    const options = {
      groupSize: 32,
      lmHead: 'bf16',
      workDirectory,
      threads: 1,
    } as const;
    const adjustments = await calibrate(checkpoint, randomScenes(checkpoint.model, 2, 1), options);
    const shared = [...adjustments].filter(([name]) => /cross_attn\.[kv]_proj\.weight:input$/.test(name));
    expect(shared.length).toBe(2 * checkpoint.model.architecture.text.crossAttentionLayers.length);
    for (const [, location] of shared) expect(new Set(readTensorF32(location))).toEqual(new Set([1]));
  });
});

describe('awq', () => {
  test.each([
    ['random weights', () => TINY, 64],
    ['outlier channels', withOutliers, 32],
  ] as const)('diverges less from the float model than rtn: %s', async (_, makeSource, groupSize) => {
    const source = makeSource();
    const checkpoint = await openCheckpoint(source);
    const folder = temporaryFolder();
    const measured = randomScenes(checkpoint.model, 6, 2);
    const options = { cacheDirectory: join(folder, 'cache'), threads: 1 };
    const reference = await predict(checkpoint, measured, options);
    const divergence = async (method: 'rtn' | 'awq') => {
      const output = join(folder, method);
      const calibrate = randomScenes(checkpoint.model, 12, 1);
      const result = await quantizeCheckpoint({ source, output, groupSize, method, calibrate, ...options });
      expect(result.method).toBe(method);
      const predictions = await predict(await openCheckpoint(output), measured, options);
      return compare(reference, predictions, checkpoint.model.architecture.text.vocabularySize).meanKl;
    };
    expect(await divergence('awq')).toBeLessThan(await divergence('rtn'));
  });

  test('diverges less on the demo model at group 128, on scenes that took no part in calibration', async () => {
    const lines = await quantizeReport({
      checkpoint: join(DEMO, 'checkpoint'),
      data: join(DEMO, 'evaluation', 'scenes.jsonl'),
      scenes: 16,
      groups: [128],
      threads: 1,
    });
    const [rtn, awq] = ['rtn', 'awq'].map((method) => lines.find((line) => line.method === method)!);
    expect(rtn!.rows).toBeGreaterThan(100);
    expect(awq!.meanKl).toBeLessThan(rtn!.meanKl);
  }, 300_000);

  test('makes the same bytes every time', async () => {
    const folder = temporaryFolder();
    const { model } = await openCheckpoint(TINY);
    const hashes = [];
    for (const name of ['one', 'two']) {
      const output = join(folder, name);
      const calibrate = randomScenes(model, 2, 1);
      const options = {
        groupSize: 32,
        lmHead: 'int4',
        method: 'awq',
        cacheDirectory: join(folder, 'cache'),
        threads: 1,
      } as const;
      await quantizeCheckpoint({ source: TINY, output, calibrate, ...options });
      const hash = createHash('sha256');
      for (const file of readdirSync(output).sort()) hash.update(file).update(readFileSync(join(output, file)));
      hashes.push(hash.digest('hex'));
    }
    expect(hashes[0]).toBe(hashes[1]);
  });
});

describe('rounding with error feedback', () => {
  test('makes up for what correlated inputs lose, and is plain rounding where inputs are independent', () => {
    const [rows, columns] = [8, 128];
    const random = createRandom(7);
    const weights = Float32Array.from({ length: rows * columns }, () => random() - 0.5);
    const sampleOf = (correlated: number) => {
      const sample = new RowSample(columns, 400);
      for (let row = 0; row < 400; row++) {
        const common = random() - 0.5;
        sample.add(
          Float32Array.from({ length: columns }, () => correlated * common + (1 - correlated) * (random() - 0.5)),
        );
      }
      return sample;
    };
    const scales = groupScales(weights, 32)!;
    const plain = quantizeRows(weights, 32)!;
    const outputError = (packed: Int32Array, sample: RowSample) => {
      const x = sample.data();
      let sum = 0;
      for (let row = 0; row < rows; row++) {
        for (let n = 0; n < sample.rows; n++) {
          let error = 0;
          for (let i = 0; i < columns; i++) {
            const at = row * columns + i;
            const q = ((packed[at >> 3]! >>> (4 * (at & 7))) & 15) - 8;
            error += (weights[at]! - q * bf16Value(scales[Math.floor(at / 32)]!)) * x[n * columns + i]!;
          }
          sum += error * error;
        }
      }
      return sum;
    };
    const ones = new Float32Array(columns).fill(1);
    const round = (sample: RowSample) => {
      const changes = weights.slice();
      const factors = feedbackFactors(groupGrams(sample, ones, columns), columns);
      return roundWithFeedback(changes, scales, 32, columns, factors);
    };
    const correlated = sampleOf(0.8);
    expect(outputError(round(correlated), correlated)).toBeLessThan(0.3 * outputError(plain.packed, correlated));

    const dead = new RowSample(columns, 4); // inputs that are always 0
    dead.add(new Float32Array(4 * columns));
    expect(round(dead)).toEqual(plain.packed);
  });

  test('measures divergence in nats', () => {
    expect(klDivergence(Float32Array.of(1, 2, 3), Float32Array.of(11, 12, 13))).toBeCloseTo(0, 6);
    // p = (1/2, 1/2), q = (1/4, 3/4): ½ ln 2 + ½ ln ⅔
    const q = Float32Array.of(0, Math.log(3));
    expect(klDivergence(Float32Array.of(0, 0), q)).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 6);
  });
});

describe('calibration pictures', () => {
  const demo = () => openCheckpoint(join(DEMO, 'checkpoint'));
  const pictures = join(DEMO, 'evaluation');

  test('come from a folder with the prompts of the model, or from lines with answers', async () => {
    const checkpoint = await demo();
    const [scene] = await readCalibration(pictures, checkpoint, { count: 1 });
    expect(scene!.samples).toHaveLength(3); // describe, list, locate
    for (const { tokens, imageTokenIndex, answerStart } of scene!.samples) {
      expect(tokens[imageTokenIndex]).toBe(checkpoint.model.architecture.imageTokenId);
      expect(answerStart).toBe(tokens.length);
    }
    expect((await scene!.image()).numTiles).toBeGreaterThan(0);

    const file = join(temporaryFolder(), 'frames.jsonl');
    const line = { image: join(pictures, '00000.jpg'), prompt: 'Is there a cup?', answer: 'Yes' };
    writeFileSync(file, `${JSON.stringify(line)}\n\n`);
    const [asked, ...others] = await readCalibration(file, checkpoint);
    expect(others).toEqual([]);
    expect(asked!.samples[0]!.answerStart).toBeLessThan(asked!.samples[0]!.tokens.length);
  });

  test('that are not there, or not as expected, are named', async () => {
    const checkpoint = await demo();
    const folder = temporaryFolder();
    const file = join(folder, 'frames.jsonl');
    writeFileSync(file, '{"image":"a.jpg","prompt":"x"}\n{"image":"b.jpg"}\n');
    const code = 'ERR_ARGUMENT_INVALID';
    await expect(readCalibration(file, checkpoint)).rejects.toMatchObject({
      code,
      message: expect.stringContaining('line 2 of'),
    });
    await expect(readCalibration(join(folder, 'none'), checkpoint)).rejects.toMatchObject({ code });
    mkdirSync(join(folder, 'empty'));
    await expect(readCalibration(join(folder, 'empty'), checkpoint)).rejects.toThrow(/found none/);
    const awq = { source: TINY, output: join(folder, 'out'), groupSize: 32, method: 'awq' } as const;
    await expect(quantizeCheckpoint(awq)).rejects.toThrow(/needs pictures.*--calibrate/);
    await expect(quantizeCheckpoint({ ...awq, calibrate: [] })).rejects.toThrow(/at least one calibration scene/);
    expect(readdirSync(folder).sort()).toEqual(['empty', 'frames.jsonl']);
  });

  test('that are more than are used are left out with a warning', async () => {
    const checkpoint = await demo();
    const file = join(temporaryFolder(), 'frames.jsonl');
    const questions = Array.from({ length: 9 }, () => ({ question: 'x' }));
    const line = JSON.stringify({ image: join(pictures, '00000.jpg'), questions });
    writeFileSync(file, `${line}\n`.repeat(65));
    const log: string[] = [];
    const logger = { log: (_: string, message: string) => log.push(message) };
    const scenes = await readCalibration(file, checkpoint, { logger });
    expect(scenes.map(({ samples }) => samples.length)).toEqual(new Array(64).fill(8));
    expect(log).toEqual([
      expect.stringMatching(/^Of 65 pictures in .* the first 64 are used/),
      expect.stringMatching(/^Of 64 pictures in .* the first 8 questions are used/),
    ]);
    expect(await readCalibration(file, checkpoint, { first: 60, count: 3, logger })).toHaveLength(3);
    expect(log).toHaveLength(3); // of the questions only
  });

  test('whose prompts would all be cut off are refused', async () => {
    const checkpoint = await demo();
    const sample = (tokens: number, imageTokenIndex: number) => ({
      tokens: new Int32Array(tokens),
      imageTokenIndex,
      answerStart: tokens,
    });
    const scene = (...samples: ReturnType<typeof sample>[]) => ({ image: () => Promise.reject(), samples });
    const late = sample(40_000, 39_999);
    await expect(calibrationScenes(checkpoint, [scene(late)])).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringMatching(/in all 1 .* would be cut off with 1 scenes/),
    });
    const log: string[] = [];
    const logger = { log: (_: string, message: string) => log.push(message) };
    const [kept] = await calibrationScenes(checkpoint, [scene(late, sample(10, 1))], logger);
    expect(kept!.samples).toHaveLength(1);
    expect(log).toEqual([expect.stringMatching(/^1 of 2 calibration prompts are left out/)]);
  });

  test('bring no more text than memory is meant for: the first questions of all, long ones cut', () => {
    const sample = (length: number) => ({
      tokens: new Int32Array(length).fill(length),
      imageTokenIndex: 1,
      answerStart: 9,
    });
    const scene = (...lengths: number[]) => ({ image: () => Promise.reject(), samples: lengths.map(sample) });
    const scenes = [scene(10, 10, 10), scene(100), scene(5, 20, 3)];
    const lengths = (bounded: readonly CalibrationScene[]) =>
      bounded.map(({ samples }) => samples.map(({ tokens }) => tokens.length));
    expect(lengths(boundedScenes(scenes, 1000))).toEqual([[10, 10, 10], [100], [5, 20, 3]]);
    // 20 for each at most: 10 + 20 + 5, then 10 but not 20, then 10 + 3.
    const tight = boundedScenes(scenes, 60);
    expect(lengths(tight)).toEqual([[10, 10, 10], [20], [5, 3]]);
    expect(tight[1]!.samples[0]).toMatchObject({ imageTokenIndex: 1, answerStart: 9 });
    expect(boundedScenes([scene(100)], 8)[0]!.samples[0]).toMatchObject({ answerStart: 8 });
  });
});
