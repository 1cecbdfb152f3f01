/**
 * Standing questions of one camera: one beside ten, about frames of the sample clip that nobody has encoded before, as
 * the service asks them. Ten answers that are written, beside ten that are decided. In turn, frame after frame.
 */
import path from 'node:path';
import { type Frame, loadModel } from 'scenebus';
import { packageRoot } from '#sdk/native/index.js';
import { median } from './median.js';
import { framesOfClip } from './scene-stream.js';

const QUESTIONS = [
  'red cup',
  'blue book',
  'green apple',
  'white sign',
  'yellow lamp',
  'red box',
  'green cup',
  'person',
].map((thing) => `Is there a ${thing}?`);
const TEN = [...QUESTIONS, 'Is anything red?', 'Are there any cups?'];

/** Milliseconds for all watches of one frame, its encoding included. Medians. */
export interface WatchesResult {
  readonly frames: number;
  readonly oneMs: number;
  readonly tenMs: number;
  readonly tenWrittenMs: number;
  /** Ten beside one. */
  readonly ratio: number;
  /** Of one frame, and of one question about it. */
  readonly imageMs: number;
  readonly questionMs: number;
}

export async function benchWatches(options: { readonly backend: 'auto' | 'cpu' | 'onnx'; readonly seconds: number }) {
  console.log('reading the clip at its own pace');
  const frames = await framesOfClip(options.seconds);
  const directory = path.join(packageRoot(), 'examples', 'demo-model', 'checkpoint');
  const cacheDirectory = path.join(packageRoot(), '.scenebus', 'bench');
  await using model = await loadModel(directory, { backend: options.backend, cacheDirectory });
  const images: number[] = [];
  const questions: number[] = [];
  const timeOf = async (work: () => Promise<void>) => {
    const startedMs = performance.now();
    await work();
    return performance.now() - startedMs;
  };
  const decide = (frame: Frame, asked: readonly string[]) =>
    timeOf(async () => {
      for (const question of asked) {
        const { timings, usage } = await model.decide(frame, question, { type: 'yes-no' });
        if (usage.reusedImages === 0) images.push(timings.imageMs);
        questions.push(timings.prefillMs + timings.decodeMs);
      }
    });
  const written = (frame: Frame) =>
    timeOf(async () => {
      for (const question of TEN) await model.ask(frame, question, { drafting: 'off' });
    });
  const times = { one: [] as number[], ten: [] as number[], tenWritten: [] as number[] };
  await decide(unseen(frames[0]!, 3), TEN); // warm
  images.length = 0;
  questions.length = 0;
  for (const frame of frames) {
    times.one.push(await decide(unseen(frame, 0), TEN.slice(0, 1)));
    times.ten.push(await decide(unseen(frame, 1), TEN));
    times.tenWritten.push(await written(unseen(frame, 2)));
  }
  const [oneMs, tenMs] = [median(times.one), median(times.ten)];
  const result: WatchesResult = {
    frames: frames.length,
    oneMs,
    tenMs,
    tenWrittenMs: median(times.tenWritten),
    ratio: tenMs / oneMs,
    imageMs: median(images),
    questionMs: median(questions),
  };
  console.log(JSON.stringify(result, undefined, 2));
  return result;
}

/** The same picture but for one pixel: its encoding is not there yet. */
function unseen(frame: Frame, number: number): Frame {
  const data = frame.data.slice();
  data[0] = (data[0]! + number + 1) % 256;
  return { ...frame, data };
}
