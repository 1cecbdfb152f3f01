/** What the device says about the sample clip, against what the clip's renderer knows (examples/clips/tabletop.jsonl). */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Frame, ModelImage, VisionLanguageModel } from 'scenebus';
import { expect, test } from 'vitest';
import { Listener, startEmbedded } from '../../support/brokers.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { borrow, lend, loadDemoModel, makeConfig, startService, topic } from './demo-device.js';

interface TruthFrame {
  readonly time: number;
  /** Nothing moves. */
  readonly stable: boolean;
  readonly objects: readonly { readonly label: string; readonly visible: number }[];
}

const truth = readFileSync(fileURLToPath(new URL('../../../examples/clips/tabletop.jsonl', import.meta.url)), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as TruthFrame);

function truthAt(mediaTimeMs: number): TruthFrame {
  const nearest = truth.reduce((best, frame) =>
    Math.abs(frame.time - mediaTimeMs / 1000) < Math.abs(best.time - mediaTimeMs / 1000) ? frame : best,
  );
  return nearest;
}

/** `A red cup on the left and a blue book …`: red cup, blue book. */
function labelsIn(text: string): Set<string> {
  return new Set(Array.from(text.matchAll(/\ban? (\w+ \w+)/gi), ([, label = '']) => label.toLowerCase()));
}

/** Remembers which moment of the clip each frame shows; the bus knows frames by their id only. */
function watchMoments(model: VisionLanguageModel) {
  const moments = new Map<string, number>();
  const describe: VisionLanguageModel['describe'] = (image: ModelImage, options) => {
    const { id, mediaTimeMs } = image as Frame;
    if (mediaTimeMs !== undefined) moments.set(id, mediaTimeMs);
    return model.describe(image, options);
  };
  return { moments, model: { ...borrow(model), describe } };
}

/** Most of the clip, which plays in real time. */
const SCENES = 8;

test('descriptions of the clip name what is there, as it comes, moves and goes', async () => {
  await using broker = await startEmbedded();
  await using model = await loadDemoModel(await makeTemporaryFolder('scenebus-truth-'));
  const watched = watchMoments(model);
  await using listener = await Listener.open(broker, 4);
  await using _service = await startService(await makeConfig({ broker: { url: broker.url } }), {
    parts: lend(watched.model),
  });
  const scenes = () => listener.on(topic('camera/table/scene'));
  const still = () =>
    scenes().flatMap(({ json }) => {
      const moment = watched.moments.get(json.frameId);
      const frame = moment === undefined ? undefined : truthAt(moment);
      return frame?.stable ? [{ text: json.text as string, frame }] : [];
    });
  await listener.next(() => still().length >= SCENES);

  const count = { hits: 0, said: 0, there: 0 };
  for (const { text, frame } of still()) {
    const said = labelsIn(text);
    const there = frame.objects.filter(({ visible }) => visible > 0.5).map(({ label }) => label);
    count.said += said.size;
    count.there += there.length;
    count.hits += there.filter((label) => said.has(label)).length;
  }
  const f1 = (2 * count.hits) / (count.said + count.there);
  expect(f1, JSON.stringify(still().map(({ text, frame }) => [frame.time, text]))).toBeGreaterThan(0.8);
  // The scene changes while it is watched, and so does what is said.
  expect(new Set(still().map(({ text }) => text)).size).toBeGreaterThanOrEqual(3);
}, 300_000);
