import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeImage, type Grounder, type LoadModelOptions, type Logger, loadModel, type Progress } from 'scenebus';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type GoldenCase,
  goldenImagePath,
  idsOf,
  messagesOf,
  readGoldenCase,
  writeGoldenModelFolder,
} from '../support/golden-model-folder.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';
import { tinyTokenizerJson } from '../support/tiny-tokenizer.js';

const NAMES = ['img1_first', 'img1_chat', 'img2_interleaved', 'img2_consecutive', 'img_last', 'long', 'text_only'];
let cases: GoldenCase[];
let directory: string;
let cacheDirectory: string;

beforeAll(async () => {
  cases = await Promise.all(NAMES.map(readGoldenCase));
  directory = await writeGoldenModelFolder(cases);
  cacheDirectory = await makeTemporaryFolder('scenebus-cache-');
});

const load = (options: LoadModelOptions = {}) => loadModel(directory, { cacheDirectory, threads: 1, ...options });

async function generate(model: Awaited<ReturnType<typeof load>>, index: number, maxNewTokens: number) {
  const images = await Promise.all(cases[index]!.images.map(({ png }) => decodeImage(goldenImagePath(png))));
  return model.generate({ messages: messagesOf(index, images) }, { temperature: 0, maxNewTokens });
}

describe.each([
  ['onnx', 'meta'],
  ['onnx', 'hf-4.45'],
  ['cpu', 'meta'],
  ['cpu', 'hf-4.45'],
] as const)('a golden checkpoint on backend %s with numerics %s', (backend, numerics) => {
  test('gives the reference tokens for every prompt, one after another through one model', async () => {
    await using model = await load({ backend, numerics });
    for (const [index, golden] of cases.entries()) {
      const expected = (numerics === 'meta' && golden.alt_zeroed_rows?.decode_tokens) || golden.decode_tokens;
      const answer = await (await generate(model, index, expected.length)).collect();
      expect(idsOf(answer.text), golden.name).toEqual(expected);
      expect(answer.usage).toMatchObject({ promptTokens: golden.input_ids.length, images: golden.images.length });
      expect(answer.finishReason).toBe('length');
    }
    // Again, in the other order: cached images and prefixes change nothing.
    for (const [index, golden] of [...cases.entries()].reverse()) {
      const expected = (numerics === 'meta' && golden.alt_zeroed_rows?.decode_tokens) || golden.decode_tokens;
      expect(idsOf((await (await generate(model, index, expected.length)).collect()).text), golden.name).toEqual(
        expected,
      );
    }
  });
});

describe('loadModel', () => {
  test('takes grounders of the caller, in their order, and refuses what is none before it opens an engine', async () => {
    const found = { label: 'cup', box: { x1: 0, y1: 0, x2: 1, y2: 1 }, boxPixels: [0, 0, 1, 1], score: 1 } as const;
    const detector: Grounder = { source: 'detector', ground: async () => [{ ...found, source: 'detector' }] };
    await using model = await load({ grounder: ['text', detector] });
    const { objects } = await (await generate(model, 0, 2)).collect();
    expect(objects).toEqual([{ ...found, source: 'detector' }]); // the golden model writes no boxes
    const phases: string[] = [];
    const wrong = load({ grounder: {} as Grounder, onProgress: ({ phase }) => void phases.push(phase) });
    await expect(wrong).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    await expect(load({ maxWaiting: 0 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    await expect(load({ verify: 1 as never })).rejects.toMatchObject({ details: { option: 'verify' } });
    await expect(load({ scores: 'best' as never })).rejects.toMatchObject({ details: { option: 'scores' } });
    expect(phases).toEqual(['open checkpoint', 'load tokenizer']);
  });

  test('tells what it loaded, and its progress', async () => {
    const phases = new Set<string>();
    const onProgress = ({ phase }: Progress) => void phases.add(phase);
    await using model = await load({ onProgress, contextLength: 128 });
    expect(model.info).toMatchObject({
      engine: { numerics: 'meta', weights: 'float', contextLength: 128, vocabularySize: 512 },
      writesBoxes: false,
    });
    expect(model.info.contentHash).toMatch(/^[0-9a-f]{16,}$/);
    expect(phases).toContain('open checkpoint');
    expect(phases.size).toBeGreaterThan(2);
  });

  test('streams, samples with a seed, and stops where the reader leaves', async () => {
    await using model = await load();
    const sampled = async (seed: number) => {
      const messages = messagesOf(6, []);
      return (await model.generate({ messages }, { temperature: 1, topP: 0.95, seed, maxNewTokens: 12 }).collect())
        .text;
    };
    const first = await sampled(1);
    expect(await sampled(1)).toBe(first);
    expect(new Set(await Promise.all([2, 3, 4, 5].map(sampled))).size).toBeGreaterThan(1);

    let pieces = 0;
    for await (const _ of await generate(model, 0, 16)) if (++pieces === 2) break;
    expect(idsOf((await (await generate(model, 0, 16)).collect()).text)).toEqual(cases[0]!.decode_tokens);
  });

  test('stops at the eos_token of the tokenizer, as fine-tunes of the base model need', async () => {
    const golden = cases[0]!;
    const tokens = golden.alt_zeroed_rows?.decode_tokens ?? golden.decode_tokens;
    const last = tokens.findIndex((id, index) => index >= 2 && !tokens.slice(0, index).includes(id));
    const folder = await writeGoldenModelFolder(cases);
    await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify({ eos_token: `<t${tokens[last]}>` }));
    await using model = await loadModel(folder, { cacheDirectory, threads: 1 });
    const answer = await (await generate(model, 0, tokens.length)).collect();
    expect(idsOf(answer.text)).toEqual(tokens.slice(0, last));
    expect(answer.finishReason).toBe('stop');
  });

  test('says that a folder without a chat template is perhaps a base model', async () => {
    const folder = await writeGoldenModelFolder(cases);
    await rm(join(folder, 'chat_template.jinja'));
    const warnings: string[] = [];
    const logger: Logger = { log: (level, message) => void (level === 'warn' && warnings.push(message)) };
    await using model = await loadModel(folder, { cacheDirectory, threads: 1, logger });
    expect(warnings).toEqual([expect.stringMatching(/no chat template.*complete\(\) for a base model/)]);
    expect(model.info.notices).toEqual(warnings);
  });

  test('warns of what the folder asks for and is not honoured', async () => {
    const folder = await writeGoldenModelFolder(cases);
    await rm(join(folder, 'generation_config.json'));
    await writeFile(join(folder, 'generation_config.json'), JSON.stringify({ num_beams: 4 }));
    const warnings: string[] = [];
    const logger: Logger = { log: (level, message) => void (level === 'warn' && warnings.push(message)) };
    await using _ = await loadModel(folder, { cacheDirectory, threads: 1, logger });
    expect(warnings.join()).toContain('num_beams 4 is not implemented');
  });

  test('keeps K/V in the numbers that are asked for on cpu, and warns where a backend has no choice', async () => {
    const warnings: string[] = [];
    const logger: Logger = { log: (level, message) => void (level === 'warn' && warnings.push(message)) };
    const folder = await writeGoldenModelFolder(cases);
    const bytesOf = async (options: LoadModelOptions) => {
      await using model = await loadModel(folder, { cacheDirectory, threads: 1, logger, ...options });
      await (await generate(model, 0, 2)).collect();
      return model.stats().sequenceBytes;
    };
    const half = await bytesOf({ backend: 'cpu', keyValueType: 'f16' });
    // A scale of 4 bytes for each head of 16 numbers.
    expect((await bytesOf({ backend: 'cpu', keyValueType: 'int8' })) / half).toBeCloseTo((16 + 4) / 32, 5);
    expect(warnings).toEqual([]);
    await bytesOf({ backend: 'onnx', keyValueType: 'int8' });
    expect(warnings).toEqual([expect.stringMatching(/keyValueType int8 has no effect.*backend onnx/)]);
  });

  test('refuses options that it does not know', async () => {
    await expect(load({ contextSize: 4 } as LoadModelOptions)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringContaining('loadModel knows but received "contextSize"'),
    });
  });

  test('refuses a prompt over the context', async () => {
    await using model = await load({ contextLength: 32 });
    const long = await generate(model, 5, 4);
    await expect(long.collect()).rejects.toMatchObject({ code: 'ERR_CONTEXT_OVERFLOW' });
  });

  test('aborts while loading with the reason', async () => {
    const reason = new Error('not any more');
    await expect(load({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const abort = new AbortController();
    const onProgress = ({ phase }: Progress) => {
      if (phase !== 'open checkpoint') abort.abort(reason);
    };
    await expect(load({ signal: abort.signal, onProgress })).rejects.toBe(reason);
  });

  test('refuses a folder that is none', async () => {
    await expect(loadModel(join(directory, 'nothing'))).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
  });

  test('refuses the tokenizer of another model, and says all that does not fit', async () => {
    const other = await writeGoldenModelFolder(cases);
    const json = tinyTokenizerJson();
    json.added_tokens.push({ ...json.added_tokens[0]!, id: 600, content: '<|extra|>' });
    await writeFile(join(other, 'tokenizer.json'), JSON.stringify(json));
    const problems = expect.arrayContaining([
      expect.stringContaining('image_token_index 512'),
      expect.stringContaining('embeds 520'),
      expect.stringContaining('configuration says 500'),
    ]);
    await expect(loadModel(other, { cacheDirectory })).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      details: { problems },
    });
  });

  test('refuses a damaged tokenizer before it opens an engine', async () => {
    const damaged = await writeGoldenModelFolder(cases);
    const text = await readFile(join(damaged, 'tokenizer.json'), 'utf8');
    await writeFile(join(damaged, 'tokenizer.json'), text.slice(0, text.length / 2));
    const phases: string[] = [];
    const onProgress = ({ phase }: Progress) => void phases.push(phase);
    await expect(loadModel(damaged, { cacheDirectory, onProgress })).rejects.toMatchObject({
      code: 'ERR_TOKENIZER_INVALID',
    });
    expect(phases).toEqual(['open checkpoint', 'load tokenizer']);
  });

  test('refuses an unknown backend', async () => {
    await expect(load({ backend: 'quantum' as 'onnx' })).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  });
});
