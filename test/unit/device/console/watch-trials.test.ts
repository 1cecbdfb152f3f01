import { encodeJpeg, type VisionLanguageModel } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { startConsole, type TestConsole } from '../../../support/console.js';
import { fakeFrame, fakeModel } from '../../../support/device-fakes.js';
import { sentEvents } from '../../../support/sent-events.js';

const watch = { id: 'person', question: 'Is there a person?', answerType: 'yes-no' };
const trial = (body: object) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** A journal with a picture for each level, a second apart, the last one now. */
async function withPictures(levels: readonly number[], model?: VisionLanguageModel): Promise<TestConsole> {
  const served = await startConsole({}, { encodeJpeg, ...(model && { model }) });
  const nowMs = Date.now();
  for (const [index, level] of levels.entries()) {
    const frame = { ...fakeFrame(index, level), capturedAtMs: nowMs - 1_000 * (levels.length - index) };
    await served.journal.record({
      id: `run-${String(index).padStart(9, '0')}`,
      kind: 'frame',
      atMs: frame.capturedAtMs,
      camera: 'cam',
      frame,
      body: { frame },
    });
    await served.journal.pictures({ camera: 'cam', from: 0, to: 1e15, limit: 1 });
  }
  for (;;) {
    const there = await served.journal.pictures({ camera: 'cam', from: 0, to: 1e15, limit: 100 });
    if (there.length === levels.length) return served;
    await served.journal.flush();
  }
}

/** Yes for what is bright. */
function brightness(before: (count: number) => Promise<void> = async () => {}) {
  let count = 0;
  const { model, calls } = fakeModel(
    () => before(++count),
    ({ frameId }) => ({ value: Number(frameId?.split('-')[1]) % 2 === 1, probability: 0.8 }),
  );
  return { model, calls };
}

describe('trying a watch', () => {
  test('on the newest frame: the value with its probability, and no event', async () => {
    await using served = await startConsole({}, { model: brightness().model });
    const response = await served.fetch('operator', '/api/watch-trials', trial({ watch }));
    const events = sentEvents(await response.text());
    expect(events.map(({ type }) => type)).toEqual(['start', 'look', 'result']);
    expect(events[1]?.data).toMatchObject({ answer: true, probability: 0.8, frame: { id: 'cam-1' } });
    expect(served.context.events.filter(({ kind }) => kind === 'watch' || kind === 'watchState')).toEqual([]);
    expect((await served.json('display', '/api/watches')).body).toEqual({ watches: [] });
  });

  test('on the pictures of the journal: how often it would have fired, and at which of them', async () => {
    await using served = await withPictures([10, 200, 10, 200, 10], brightness().model);
    const response = await served.fetch('operator', '/api/watch-trials', trial({ watch, lastMinutes: 60 }));
    const events = sentEvents(await response.text());
    expect(events[0]?.data).toMatchObject({ pictures: 5, isCut: false });
    const looks = events.filter(({ type }) => type === 'look').map(({ data }) => data);
    expect(looks.map(({ event }) => event)).toEqual([null, 'new', 'end', 'new', 'end']);
    expect(looks.map(({ frame }) => (frame as { id: string }).id)).toEqual([
      'cam-0',
      'cam-1',
      'cam-2',
      'cam-3',
      'cam-4',
    ]);
    expect(events.at(-1)?.data).toMatchObject({ asked: 5, fired: 2 });
  });

  test('no more pictures than were asked for: the newest', async () => {
    await using served = await withPictures([10, 200, 10, 200, 10], brightness().model);
    const body = trial({ watch, lastMinutes: 60, maxPictures: 2 });
    const events = sentEvents(await (await served.fetch('operator', '/api/watch-trials', body)).text());
    expect(events[0]?.data).toMatchObject({ pictures: 2, isCut: true });
    expect(events[1]?.data).toMatchObject({ frame: { id: 'cam-3' }, event: 'new' });
  });

  test('ends when its reader goes away, and at most two run at once', async () => {
    let wait = () => {};
    const held = new Promise<void>((resolve) => {
      wait = resolve;
    });
    const { model, calls } = brightness((count) => (count > 1 ? held : Promise.resolve()));
    await using served = await withPictures([10, 200, 10, 200], model);
    const body = trial({ watch, lastMinutes: 60 });
    const [first, second] = [new AbortController(), new AbortController()];
    const open = (signal: AbortSignal) => served.fetch('operator', '/api/watch-trials', { ...body, signal });
    expect([(await open(first.signal)).status, (await open(second.signal)).status]).toEqual([200, 200]);
    const third = await served.fetch('operator', '/api/watch-trials', body);
    expect(third.status).toBe(429);
    first.abort();
    second.abort();
    wait();
    await expect.poll(async () => (await served.fetch('operator', '/api/watch-trials', body)).status).toBe(200);
    // Neither of the two went on with all of its pictures.
    expect(calls.length).toBeLessThan(12);
  });

  test('a camera that nobody may see is not tried on', async () => {
    await using served = await withPictures([10]);
    await served.context.hub.emit('setting', { setting: 'privacy', value: true }, { camera: 'cam' });
    const response = await served.fetch('operator', '/api/watch-trials', trial({ watch, lastMinutes: 60 }));
    expect(response.status).toBe(409);
  });
});
