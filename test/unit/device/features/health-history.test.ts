import { expect, test } from 'vitest';
import { HealthHistory } from '#device/features/health-history.js';
import { fakeAnswer, fakeContext, fakeFrame, fakeModel } from '../../../support/device-fakes.js';

test('a sample holds the rate at which frames came, what answers took since the last, and what the device tells', async () => {
  const context = await fakeContext(fakeModel().model);
  const samples: { atMs: number; run: string; metrics: Readonly<Record<string, number>> }[] = [];
  const sources = { metrics: () => ({ questionsWaiting: 2 }), telemetry: async () => ({ cpuTemperatureCelsius: 51 }) };
  const history = new HealthHistory(context, sources, { keep: (sample) => samples.push(sample), everyMs: 2 ** 30 });
  const [feed] = context.feeds;
  const produced = (count: number) => {
    feed!.source = { ...feed!.source, newestSequence: count };
  };
  produced(100);
  await history.sampleSoon();
  expect(samples[0]).toMatchObject({
    run: 'run',
    metrics: { questionsWaiting: 2, cpuTemperatureCelsius: 51, problems: 0 },
  });
  expect(samples[0]?.metrics['framesPerSecond cam']).toBeUndefined();
  expect(samples[0]?.metrics.processRssBytes).toBeGreaterThan(0);

  produced(250);
  context.advance(10_000);
  const frame = fakeFrame(1);
  for (const totalMs of [100, 300]) {
    const answer = fakeAnswer('a cup');
    const timings = { ...answer.timings, totalMs, timeToFirstTokenMs: totalMs / 2, decodeMs: 50 };
    const scene = { frame, trigger: 'first', answer: { ...answer, timings }, model: { id: 'm' } };
    await context.hub.emit('scene', scene as never, { camera: 'cam', frame });
  }
  const failed = { verb: 'ask', question: 'x', answer: null, model: null, error: null };
  await context.hub.emit('answer', failed);
  await history.sampleSoon();
  expect(samples[1]?.metrics).toMatchObject({
    'framesPerSecond cam': 15,
    answerMs: 200,
    firstTokenMs: 100,
    // 2 × 5 tokens in 2 × 50 ms.
    tokensPerSecond: 100,
  });

  // A camera that was replaced counts from the beginning; nothing was answered since.
  produced(3);
  context.advance(10_000);
  await history[Symbol.asyncDispose]();
  expect(samples).toHaveLength(3);
  expect(samples[2]?.metrics['framesPerSecond cam']).toBeUndefined();
  expect(samples[2]?.metrics.answerMs).toBeUndefined();
});
