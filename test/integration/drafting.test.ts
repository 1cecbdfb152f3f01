/**
 * Drafted answers against plain ones, on real engines: the same tokens, texts and reasons to end. The tiny golden
 * model has random weights, so its choices are closer and stranger than those of a trained one.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeImage, type LoadModelOptions, loadModel } from 'scenebus';
import { afterAll, expect, test, vi } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import type { Engine, ImageState, PlacedImage } from '#sdk/engine/engine.js';
import { openCpuEngine, openOnnxEngine } from '#sdk/engine/index.js';
import { Drafting } from '#sdk/inference/drafting/index.js';
import type { GenerationOutput } from '#sdk/inference/generation.js';
import { argmax } from '#sdk/inference/sampling.js';
import type { TokenMask } from '#sdk/inference/token-mask.js';
import type { Tokenizer } from '#sdk/text/tokenizer.js';
import { runGeneration } from '../support/generation.js';
import { makeInt4Checkpoint } from '../support/int4-checkpoint.js';
import { ARRANGEMENTS, syntheticImage } from '../support/tiny-images.js';
import { GOLDEN } from '../unit/checkpoint/checkpoint-folder.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-drafting-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cacheDirectory = path.join(folder, 'cache');
const tinyA = path.join(GOLDEN, 'tiny-a');
const { int4 } = makeInt4Checkpoint(tinyA, folder, 32);

vi.setConfig({ testTimeout: 180_000 });

const IMAGE = 512;
const BOS = 500;
const STOPS = new Set([501, 508, 509]);
/** Every id is a word. */
const tokenizer = { bytesOf: (id: number) => Buffer.from(` ${id}`) } as unknown as Tokenizer;

/** Like a grammar of nested lists: opening tokens (id % 8 = 0), closing ones (1), ends only when all is closed. */
function nestingMask(): TokenMask {
  const DEEPEST = 3;
  let depth = 0;
  let sinceChange = 0;
  return {
    apply(logits) {
      for (let id = 0; id < logits.length; id++) {
        const opens = id % 8 === 0;
        const closes = id % 8 === 1;
        const allowed = STOPS.has(id)
          ? depth === 0
          : opens
            ? depth < DEEPEST && sinceChange > 0
            : closes
              ? depth > 0 && sinceChange > 1
              : sinceChange < 4;
        if (!allowed) logits[id] = Number.NEGATIVE_INFINITY;
      }
    },
    accept(id) {
      const change = id % 8 === 0 ? 1 : id % 8 === 1 ? -1 : 0;
      depth += change;
      sinceChange = change === 0 ? sinceChange + 1 : 0;
    },
  };
}

interface Result extends GenerationOutput {
  readonly ids: readonly number[];
}

async function generate(
  engine: Engine,
  prompt: Int32Array,
  images: readonly PlacedImage[],
  masked: boolean,
  drafting?: Drafting,
): Promise<Result> {
  const session = drafting?.begin(prompt);
  const ids: number[] = [];
  using sequence = engine.createSequence();
  const output = await runGeneration({
    sequence,
    tokens: prompt,
    images,
    tokenizer,
    sample: argmax,
    mask: masked ? nestingMask() : undefined,
    stopIds: STOPS,
    stopStrings: [],
    maxNewTokens: 16,
    signal: new AbortController().signal,
    onText: () => {},
    onForward: (tokens) => void ids.push(...tokens),
    drafts: session && {
      source: {
        accept: (id) => session.accept(id),
        propose: (most) => session.propose(most),
        // A constant cost of rows: which drafts are tried does not depend on the clock.
        observe: (rows) => session.observe(rows, 1 + 0.05 * (rows - 1)),
      },
      closeCallMargin: engine.info.capabilities.closeCallMargin!,
    },
  });
  session?.remember();
  return { ...output, ids };
}

const engines: readonly [string, () => Promise<Engine>, { logProbabilities: number }][] = [
  [
    'onnx, float32',
    async () => openOnnxEngine(await openCheckpoint(tinyA), { cacheDirectory }),
    { logProbabilities: 1e-4 },
  ],
  ['cpu, float32', async () => openCpuEngine(await openCheckpoint(tinyA), { cacheDirectory }), { logProbabilities: 0 }],
  ['cpu, int4', async () => openCpuEngine(await openCheckpoint(int4), { cacheDirectory }), { logProbabilities: 0 }],
];

test.each(engines)('500 prompts get the same answers, half of them under a mask: %s', async (_, open, within) => {
  await using engine = await open();
  const [single, tall] = await Promise.all(
    (['single', 'tall'] as const).map((kind, i) => engine.encodeImage(syntheticImage(ARRANGEMENTS[kind], i))),
  );
  const random = createRandomBelow(11);
  const draftings = [new Drafting(), new Drafting()];
  const sum = { prompts: 0, drafted: 0, accepted: 0, calls: 0, plainCalls: 0 };
  for (let index = 0; index < 125; index++) {
    const prompt = Int32Array.of(BOS, IMAGE, ...Array.from({ length: 2 + random(12) }, () => random(500)));
    for (const [masked, drafting] of draftings.entries()) {
      const answers = new Map<ImageState, Result>();
      // The same prompt about another picture and about the first one again, as a camera's descriptions.
      for (const image of [single!, tall!, single!]) {
        const images = [{ image, tokenIndex: 1 }];
        const plain = answers.get(image) ?? (await generate(engine, prompt, images, masked === 1));
        if (!answers.has(image)) sum.prompts++;
        answers.set(image, plain);
        const drafted = await generate(engine, prompt, images, masked === 1, drafting);
        expect(drafted.ids).toEqual(plain.ids);
        expect(drafted.text).toBe(plain.text);
        expect(drafted.finishReason).toBe(plain.finishReason);
        expect(drafted.generatedTokens).toBe(plain.generatedTokens);
        expect(drafted.tokens.map(({ start, end }) => [start, end])).toEqual(
          plain.tokens.map(({ start, end }) => [start, end]),
        );
        const differences = drafted.tokens.map(({ logProbability }, i) =>
          Math.abs(logProbability - plain.tokens[i]!.logProbability),
        );
        expect(Math.max(0, ...differences)).toBeLessThanOrEqual(within.logProbabilities);
        sum.drafted += drafted.draftedTokens;
        sum.accepted += drafted.acceptedTokens;
        sum.calls += drafted.engineCalls;
        sum.plainCalls += plain.engineCalls;
      }
    }
  }
  expect(sum.prompts).toBe(500);
  expect(sum.accepted).toBeGreaterThan(1500);
  expect(sum.drafted - sum.accepted).toBeGreaterThan(500); // wrong guesses too
  expect(sum.calls).toBeLessThan(sum.plainCalls);
});

const demoModel = fileURLToPath(new URL('../../examples/demo-model', import.meta.url));

/** Scenes of the evaluation set, with about ten questions each. */
test.each<[NonNullable<LoadModelOptions['backend']>, number]>([
  ['cpu', 16],
  ['onnx', 6],
])(
  'the demo model answers the same on backend %s, questions of %i scenes and their descriptions',
  async (backend, count) => {
    await using model = await loadModel(path.join(demoModel, 'checkpoint'), { backend, cacheDirectory });
    const lines = (await readFile(path.join(demoModel, 'evaluation', 'scenes.jsonl'), 'utf8')).trim().split('\n');
    let accepted = 0;
    for (const line of lines.slice(0, count)) {
      const scene = JSON.parse(line) as { image: string; questions: { question: string }[] };
      const image = await decodeImage(path.join(demoModel, 'evaluation', scene.image));
      const questions = [
        ...scene.questions.map(({ question }) => question),
        'Describe the scene.',
        'List all objects with their boxes.',
      ];
      for (const question of questions) {
        const plain = await model.ask(image, question, { temperature: 0, drafting: 'off' });
        const drafted = await model.ask(image, question, { temperature: 0 });
        expect(drafted.text, question).toBe(plain.text);
        expect(drafted.finishReason).toBe(plain.finishReason);
        expect(drafted.usage.generatedTokens).toBe(plain.usage.generatedTokens);
        expect(drafted.objects.map(({ label, boxPixels }) => [label, boxPixels])).toEqual(
          plain.objects.map(({ label, boxPixels }) => [label, boxPixels]),
        );
        accepted += drafted.usage.acceptedTokens;
        expect(plain.usage.draftedTokens).toBe(0);
      }
    }
    expect(accepted).toBeGreaterThan(0);
  },
);

test.each<NonNullable<LoadModelOptions['backend']>>(['cpu', 'onnx'])(
  'penalties: the same with drafts as without on backend %s',
  async (backend) => {
    await using model = await loadModel(path.join(demoModel, 'checkpoint'), { backend, cacheDirectory });
    const lines = (await readFile(path.join(demoModel, 'evaluation', 'scenes.jsonl'), 'utf8')).trim().split('\n');
    const question = 'List all objects with their boxes.';
    let accepted = 0;
    let changed = 0;
    for (const line of lines.slice(0, 4)) {
      const image = await decodeImage(
        path.join(demoModel, 'evaluation', (JSON.parse(line) as { image: string }).image),
      );
      const free = await model.ask(image, question, { temperature: 0 });
      for (const penalties of [
        { repetitionPenalty: 2 },
        { presencePenalty: 2, frequencyPenalty: 2 },
        { noRepeatNgramSize: 2 },
      ]) {
        const options = { ...penalties, temperature: 0, maxNewTokens: 60 };
        const plain = await model.ask(image, question, { ...options, drafting: 'off' });
        const drafted = await model.ask(image, question, options);
        expect(drafted.text, JSON.stringify(penalties)).toBe(plain.text);
        expect(drafted.usage.generatedTokens).toBe(plain.usage.generatedTokens);
        accepted += drafted.usage.acceptedTokens;
        if (plain.text !== free.text) changed++;
      }
    }
    expect(accepted).toBeGreaterThan(0);
    expect(changed).toBeGreaterThan(0);
  },
);

function createRandomBelow(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}
