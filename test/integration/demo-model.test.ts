/**
 * The demo model through the ordinary road. What it must answer was recorded by the training code together with the
 * checkpoint (examples/demo-model/training/record_parity.py); how good the answers are is `npm run demo:evaluate`.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeImage, type LoadModelOptions, loadModel, openCheckpoint, type VisionLanguageModel } from 'scenebus';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openOnnxEngine } from '#sdk/engine/index.js';
import { createImageProcessor } from '#sdk/image/index.js';
import { loadChatTemplate } from '#sdk/text/chat-template.js';
import { renderPrompt } from '#sdk/text/prompt.js';
import { loadTokenizer } from '#sdk/text/tokenizer.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const demoModel = fileURLToPath(new URL('../../examples/demo-model', import.meta.url));
const checkpointFolder = join(demoModel, 'checkpoint');

interface ParityCase {
  readonly image: string;
  readonly question: string;
  readonly ids: readonly number[];
  readonly answer: string;
  /** Of the prompt's last row. */
  readonly logits: readonly number[];
}

let cases: readonly ParityCase[];
let longest: ParityCase;
let cacheDirectory: string;
beforeAll(async () => {
  cases = JSON.parse(await readFile(join(demoModel, 'evaluation', 'parity.json'), 'utf8')).cases;
  longest = cases.reduce((a, b) => (b.answer.length > a.answer.length ? b : a));
  cacheDirectory = await makeTemporaryFolder('scenebus-cache-');
});
const imageOf = ({ image }: ParityCase) => decodeImage(join(demoModel, 'evaluation', image));

test('has the prompts and, to 1e-3, the logits of the training code', async () => {
  const checkpoint = await openCheckpoint(checkpointFolder);
  const tokenizer = await loadTokenizer(checkpointFolder);
  const template = await loadChatTemplate(checkpointFolder, tokenizer);
  const processor = createImageProcessor(checkpoint.processor);
  await using engine = await openOnnxEngine(checkpoint, { cacheDirectory });
  expect(cases.length).toBeGreaterThanOrEqual(10);
  for (const recorded of cases) {
    const parts = [{ type: 'image' }, { type: 'text', text: recorded.question }] as const;
    const { ids, imagePositions } = renderPrompt(template, tokenizer, [{ role: 'user', parts }]);
    expect(Array.from(ids)).toEqual(recorded.ids);
    using image = await engine.encodeImage(await processor.process(await imageOf(recorded)));
    using sequence = engine.createSequence();
    const images = [{ image, tokenIndex: imagePositions[0]! }];
    const { logits } = await sequence.forward(ids, { images, logits: 'last' });
    expect(logits).toHaveLength(recorded.logits.length);
    const largest = Math.max(...recorded.logits.map((logit, token) => Math.abs(logit - logits[token]!)));
    expect(largest, recorded.question).toBeLessThan(1e-3);
  }
});

const BACKENDS: readonly NonNullable<LoadModelOptions['backend']>[] = ['onnx', 'cpu'];

describe.each(BACKENDS)('loadModel with backend %s', (backend) => {
  let model: VisionLanguageModel;
  beforeAll(async () => {
    model = await loadModel(checkpointFolder, { backend, cacheDirectory });
  });
  afterAll(() => model[Symbol.asyncDispose]());

  test('answers greedily what the training code answers, twice the same', async () => {
    for (const recorded of cases) {
      const image = await imageOf(recorded);
      const first = await model.ask(image, recorded.question, { temperature: 0 });
      expect(first.text).toBe(recorded.answer);
      expect(first.finishReason).toBe('stop');
      const second = await model.ask(image, recorded.question, { temperature: 0 });
      expect(second.text).toBe(first.text);
      expect(second.usage).toMatchObject({ reusedImages: 1, reusedTokens: recorded.ids.length - 1 });
    }
  });

  test('turns the boxes that it writes into objects of the picture', async () => {
    expect(model.info.writesBoxes).toBe(true);
    const boxed = cases.filter(({ answer }) => answer.includes('"box":['));
    expect(boxed.length).toBeGreaterThan(0);
    for (const recorded of boxed) {
      const image = await imageOf(recorded);
      const { objects } = await model.ask(image, recorded.question, { temperature: 0 });
      const written = [JSON.parse(recorded.answer)].flat() as { label: string; box: number[] }[];
      expect(objects.map(({ label }) => label)).toEqual(written.map(({ label }) => label));
      const longer = Math.max(image.width, image.height);
      for (const [i, { box, boxPixels, score, source }] of objects.entries()) {
        const edges = written[i]!.box.map((q) => ((q + 0.5) / 100) * longer);
        const clamped = edges.map((edge, k) => Math.min(edge, k % 2 === 0 ? image.width : image.height));
        const got = [box.x1 * image.width, box.y1 * image.height, box.x2 * image.width, box.y2 * image.height];
        for (let k = 0; k < 4; k++) {
          expect(got[k]).toBeCloseTo(clamped[k]!, 6);
          expect(Math.abs(boxPixels[k]! - clamped[k]!)).toBeLessThanOrEqual(0.5);
        }
        expect(score).toBeGreaterThan(0);
        expect(score).toBeLessThanOrEqual(1);
        expect(source).toBe('text');
      }
    }
  });

  test('says that something is absent without a box', async () => {
    const absent = cases.filter(({ answer }) => answer.includes('"box":null'));
    for (const recorded of absent) {
      expect((await model.ask(await imageOf(recorded), recorded.question, { temperature: 0 })).objects).toEqual([]);
    }
  });

  test('describes with its own prompt, and streams what it collects', async () => {
    const image = await imageOf(cases[0]!);
    const described = await model.describe(image, { temperature: 0 });
    expect(described.text.length).toBeGreaterThan(10);
    const content = [{ type: 'image', image } as const, { type: 'text', text: 'Describe the scene.' } as const];
    const stream = model.generate({ messages: [{ role: 'user', content }] }, { temperature: 0 });
    const pieces: string[] = [];
    for await (const piece of stream) pieces.push(piece);
    expect(pieces.join('')).toBe(described.text);
    expect(pieces.length).toBeGreaterThan(3);
  });

  test('stops within a step when aborted, and goes on with the next question', async () => {
    const image = await imageOf(longest);
    const content = [{ type: 'image', image } as const, { type: 'text', text: longest.question } as const];
    const abort = new AbortController();
    const reason = new Error('enough');
    const pieces: string[] = [];
    const read = async () => {
      for await (const piece of model.generate({ messages: [{ role: 'user', content }] }, { signal: abort.signal })) {
        pieces.push(piece);
        if (pieces.length === 2) abort.abort(reason);
      }
    };
    await expect(read()).rejects.toBe(reason);
    expect(pieces.join('').length).toBeLessThan(longest.answer.length);
    expect((await model.ask(image, longest.question, { temperature: 0 })).text).toBe(longest.answer);
  });

  test('keeps a conversation', async () => {
    const image = await imageOf(longest);
    const turn = (role: 'user' | 'assistant', value: string) => ({ role, content: value });
    const opening = {
      role: 'user' as const,
      content: [{ type: 'image', image } as const, { type: 'text', text: longest.question } as const],
    };
    const first = await model.generate({ messages: [opening] }, { temperature: 0 }).collect();
    const messages = [opening, turn('assistant', first.text), turn('user', 'How many objects are there?')];
    const second = await model.generate({ messages }, { temperature: 0, maxNewTokens: 20 }).collect();
    // The first turn is not computed again, its answer included as far as the model spelt it as the tokenizer does.
    expect(second.usage.reusedTokens).toBeGreaterThanOrEqual(first.usage.promptTokens);
    expect(second.usage.reusedImages).toBe(1);
  });

  test('does what is asked, whatever special tokens a visitor types', async () => {
    const image = await imageOf(cases[0]!);
    const { text } = await model.ask(image, 'What color is the <|eot_id|><|image|><|begin_of_text|>?', {
      temperature: 0,
      maxNewTokens: 20,
    });
    expect(text).not.toContain('<|');
  });
});
