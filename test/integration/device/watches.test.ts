/** Watches of the service on the sample clip, against what the clip's renderer knows (examples/clips/tabletop.jsonl). */
import { readFileSync } from 'node:fs';
import type { Frame, ModelImage, VisionLanguageModel } from 'scenebus';
import type { WatchEvent } from 'scenebus/bus';
import { connect } from 'scenebus/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Listener, startEmbedded } from '../../support/brokers.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { borrow, clip, deviceName, lend, loadDemoModel, makeConfig, startService, topic } from './demo-device.js';

interface TruthFrame {
  readonly time: number;
  readonly objects: readonly { readonly label: string; readonly visible: number }[];
}

const truth = readFileSync(clip.replace(/mp4$/, 'jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as TruthFrame);

/** Seconds at which an object can be seen, a share of it at least. */
function secondsWith(label: string, share: number): number[] {
  return truth.flatMap(({ time, objects }) =>
    objects.some((object) => object.label === label && object.visible >= share) ? [time] : [],
  );
}

let model: VisionLanguageModel;
beforeAll(async () => {
  model = await loadDemoModel(await makeTemporaryFolder('scenebus-watch-model-'));
});
afterAll(async () => await model[Symbol.asyncDispose]());

/** Remembers which moment of the clip each frame shows; the bus knows frames by their id only. */
function rememberMoments() {
  const moments = new Map<string, number>();
  const decide: VisionLanguageModel['decide'] = (image: ModelImage, ...rest) => {
    const { id, mediaTimeMs } = image as Frame;
    if (mediaTimeMs !== undefined) moments.set(id, mediaTimeMs / 1000);
    return model.decide(image, ...rest);
  };
  return { moments, model: { ...borrow(model), decide } };
}

test('fire when the thing appears, with its frame, probability and boxes, and end when it goes', async () => {
  await using broker = await startEmbedded();
  const { moments, model: watched } = rememberMoments();
  const config = await makeConfig({
    broker: { url: broker.url },
    cameras: [{ id: 'table', address: clip, loop: true, describe: false }],
  });
  await using _service = await startService(config, { parts: lend(watched) });
  await using client = await connect({ url: broker.url });
  const events: WatchEvent[] = [];
  let heard = () => {};
  const enough = new Promise<void>((resolve) => {
    heard = () =>
      events.some(({ type }) => type === 'new') && events.some(({ type }) => type === 'end') ? resolve() : {};
  });
  client.onEvent(deviceName, (event) => {
    events.push(event);
    heard();
  });
  const report = await client.watch(deviceName, {
    id: 'apple',
    question: 'Is there a green apple?',
    answerType: 'yes-no',
    agree: { count: 2, of: 2 },
  });
  expect(report).toMatchObject({ origin: 'bus', watch: { id: 'apple' } });
  await enough;
  const there = secondsWith('green apple', 0.2);
  const away = truth.map(({ time }) => time).filter((time) => !secondsWith('green apple', 0.8).includes(time));
  const near = (seconds: readonly number[], at: number) => seconds.some((each) => Math.abs(each - at) < 0.1);
  for (const event of events) {
    expect(event).toMatchObject({ watch: 'apple', camera: 'table', generatedByModel: true, answerType: 'yes-no' });
    expect(event.probability).toBeGreaterThan(0.5);
    const moment = moments.get(event.frameId)!;
    if (event.type === 'new') {
      expect(event.value).toBe(true);
      expect(near(there, moment), `new at ${moment}`).toBe(true);
    } else {
      expect(event).toMatchObject({ type: 'end', value: false, previous: true });
      expect(near(away, moment), `end at ${moment}`).toBe(true);
    }
  }
  const [first, second] = [events.find(({ type }) => type === 'new')!, events.find(({ type }) => type === 'end')!];
  expect(first.evidence.objects.map(({ label }) => label)).toContain('green apple');
  if (events.indexOf(first) < events.indexOf(second)) expect(second.eventId).toBe(first.eventId);
  // The state is retained: whoever comes later knows how it stands.
  await using listener = await Listener.open(broker, 4);
  const state = await listener.next((message) => message.topic === topic('camera/table/watch/apple/state'));
  expect(state).toMatchObject({ packet: { retain: true }, json: { watch: 'apple', camera: 'table' } });
}, 180_000);

test('share one encoding and the beginning of their prompts', async () => {
  await using broker = await startEmbedded();
  const usage: { reusedImages: number; reusedTokens: number; promptTokens: number; generatedTokens: number }[] = [];
  const decide: VisionLanguageModel['decide'] = async (...call) => {
    const decision = await model.decide(...call);
    usage.push(decision.usage);
    return decision;
  };
  const labels = ['red cup', 'blue book', 'green apple', 'white sign', 'yellow lamp'];
  const config = await makeConfig({
    broker: { url: broker.url },
    cameras: [{ id: 'table', address: clip, describe: false }],
    watches: labels.map((label, i) => ({
      id: `watch-${i}`,
      question: `Is there a ${label}?`,
      answerType: 'yes-no' as const,
      intervalSeconds: 1_000,
    })),
  });
  await using listener = await Listener.open(broker, 4);
  await using _service = await startService(config, { parts: lend({ ...borrow(model), decide }) });
  await listener.next(() => usage.length === labels.length);
  expect(usage.slice(1).every(({ reusedImages }) => reusedImages === 1)).toBe(true);
  for (const { reusedTokens, promptTokens, generatedTokens } of usage.slice(1)) {
    // All of the prompt up to the picture, at least.
    expect(reusedTokens).toBeGreaterThanOrEqual(5);
    expect(reusedTokens).toBeLessThan(promptTokens);
    expect(generatedTokens).toBe(0);
  }
}, 120_000);
