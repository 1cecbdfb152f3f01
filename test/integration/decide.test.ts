/** Decisions of the demo model about the sample clip, against what the clip's renderer knows and what is written. */
import { readFileSync } from 'node:fs';
import { type Frame, loadModel, openCamera } from 'scenebus';
import { expect, test } from 'vitest';
import { makeTemporaryFolder } from '../support/temporary-folder.js';
import { clip, demoModel, loadDemoModel } from './device/demo-device.js';

interface TruthFrame {
  readonly time: number;
  readonly stable: boolean;
  readonly objects: readonly { readonly label: string; readonly class: string; readonly visible: number }[];
}

const truth = readFileSync(clip.replace(/mp4$/, 'jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as TruthFrame);

/** Frames in which nothing moves, seconds apart. */
async function stillFrames(count: number): Promise<{ readonly frame: Frame; readonly seen: TruthFrame }[]> {
  await using camera = await openCamera(clip);
  const found: { frame: Frame; seen: TruthFrame }[] = [];
  for await (const frame of camera.frames()) {
    const seconds = (frame.mediaTimeMs ?? 0) / 1000;
    const seen = truth.reduce((best, each) =>
      Math.abs(each.time - seconds) < Math.abs(best.time - seconds) ? each : best,
    );
    const last = found.at(-1)?.seen.time ?? -10;
    if (seen.stable && seconds - last > 3) found.push({ frame, seen });
    if (found.length === count) break;
  }
  return found;
}

test('decides from one prefill what the model would write, and is right about the clip', async () => {
  await using model = await loadDemoModel(await makeTemporaryFolder('scenebus-decide-'));
  const labels = ['red cup', 'blue book', 'green apple', 'white sign', 'yellow lamp'];
  let right = 0;
  let asked = 0;
  for (const { frame, seen } of await stillFrames(4)) {
    const there = new Set(seen.objects.filter(({ visible }) => visible > 0.5).map(({ label }) => label));
    for (const label of labels) {
      const question = `Is there a ${label}?`;
      const decision = await model.decide(frame, question, { type: 'yes-no' });
      const { text } = await model.ask(frame, question);
      expect(decision.value, `${question} ${text}`).toBe(/^yes/i.test(text));
      expect(decision.coverage).toBeGreaterThan(0.95);
      expect(decision.timings.engineCalls).toBe(1);
      expect(decision.usage.generatedTokens).toBe(0);
      asked++;
      if (decision.value === there.has(label)) right++;
    }
    const count = await model.decide(frame, 'How many objects are there?', { type: 'number', max: 20 });
    const written = await model.ask(frame, 'How many objects are there?');
    expect(String(count.value)).toBe(written.text);
    const colours = { type: 'choice', choices: ['red', 'green', 'blue', 'yellow', 'white'] } as const;
    if (there.has('red cup')) {
      expect(await model.decide(frame, 'What color is the cup?', colours)).toMatchObject({ value: 'red' });
    }
  }
  expect(asked).toBe(20);
  expect(right / asked).toBeGreaterThan(0.85);
}, 120_000);

test('many options that begin alike take one call more on cpu, and are as probable as one by one on onnx', async () => {
  const cacheDirectory = await makeTemporaryFolder('scenebus-decide-');
  await using cpu = await loadModel(demoModel, { backend: 'cpu', cacheDirectory });
  await using onnx = await loadModel(demoModel, { backend: 'onnx', cacheDirectory });
  const colours = ['red', 'green', 'blue', 'yellow', 'white'];
  const things = ['cup', 'book', 'apple', 'sign', 'lamp'];
  const choices = colours.flatMap((colour) => things.map((thing) => `A ${colour} ${thing}.`));
  const { frame } = (await stillFrames(1))[0]!;
  let calls = 0;
  for (const question of ['What is left of the lamp?', 'What is right of the cup?', 'What is there?']) {
    const together = await cpu.decide(frame, question, { type: 'choice', choices });
    const apart = await onnx.decide(frame, question, { type: 'choice', choices });
    expect(together.timings.engineCalls).toBeLessThanOrEqual(2);
    calls += apart.timings.engineCalls;
    expect(together.value).toBe(apart.value);
    for (const { value, probability } of together.options) {
      const other = apart.options.find((option) => option.value === value)!;
      expect(Math.abs(probability - other.probability), `${question} ${value}`).toBeLessThan(0.02);
    }
  }
  expect(calls).toBeGreaterThan(6);
}, 120_000);
