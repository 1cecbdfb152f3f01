import { expect, test } from 'vitest';
import type { WatchFound } from '#device/console/api/watch-schemas.js';
import { spansOf } from '#device/console/watch-history.js';
import { startConsole } from '../../../support/console.js';
import { fakeFrame } from '../../../support/device-fakes.js';

const json = (body: object) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

function found(atMs: number, type: WatchFound['type'], value: boolean, probability = 0.9): WatchFound {
  return { id: `e-${atMs}`, run: 'e', atMs, camera: 'cam', type, value, probability, frame: null };
}

test('the strip is what was found, from each event to the next, and unknown before the first', () => {
  const events = [found(20, 'new', true), found(50, 'end', false, 0.7)];
  expect(spansOf(events, { fromMs: 0, toMs: 100 })).toEqual([
    { fromMs: 0, toMs: 20, value: null, probability: null, isLasting: false },
    { fromMs: 20, toMs: 50, value: true, probability: 0.9, isLasting: true },
    { fromMs: 50, toMs: 100, value: false, probability: 0.7, isLasting: false },
  ]);
});

test('what began before the strip lasts into it; after a pause nothing is known', () => {
  const events = [found(-30, 'new', true), found(40, 'end', true)];
  expect(spansOf(events, { fromMs: 0, toMs: 100 })).toEqual([
    { fromMs: 0, toMs: 40, value: true, probability: 0.9, isLasting: true },
    { fromMs: 40, toMs: 100, value: null, probability: null, isLasting: false },
  ]);
});

test('only events of this watch count, though another is named like a part of it', async () => {
  await using served = await startConsole();
  const person = { id: 'person', question: 'Is there a person?', answerType: 'yes-no' } as const;
  await served.fetch('operator', '/api/watches', json(person));
  await served.fetch('operator', '/api/watches', json({ ...person, id: 'person-2', enabled: false }));
  const [feed] = served.context.feeds;
  await feed!.drained();
  feed!.push(fakeFrame(5, 50));
  await served.context.next('watch');
  const history = async (id: string) => (await served.json('display', `/api/watches/${id}/history?hours=1`)).body;
  const clock = served.context.events.find(({ kind }) => kind === 'watch')!.atMs;
  expect(await history('person')).toMatchObject({
    isWhole: true,
    cameras: [{ camera: 'cam', spans: [{ value: null }, { fromMs: clock, value: true, isLasting: true }] }],
    events: [{ type: 'new', value: true, probability: 0.9, frame: { id: 'cam-5' } }],
  });
  expect(await history('person-2')).toMatchObject({ cameras: [{ spans: [{ value: null }] }], events: [] });
  expect((await served.fetch('display', '/api/watches/constructor/history')).status).toBe(404);
});
