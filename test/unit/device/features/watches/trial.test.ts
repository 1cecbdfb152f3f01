import type { WatchDefinition } from 'scenebus/bus';
import { expect, test } from 'vitest';
import { replay, type TrialLook } from '#device/features/watches/trial.js';
import { fakeFrame, fakeModel } from '../../../../support/device-fakes.js';

const person: WatchDefinition = { id: 'person', question: 'Is there a person?', answerType: 'yes-no' };
/** A Wednesday, local time. */
const NOON = new Date(2026, 10, 25, 12, 0).getTime();

interface Picture {
  readonly second: number;
  /** What a change gate sees; default: another than before. */
  readonly level?: number;
  /** What the model says of it. */
  readonly says: boolean;
  readonly probability?: number;
  readonly isGone?: boolean;
}

async function run(watch: WatchDefinition, pictures: readonly Picture[], stop = new AbortController()) {
  const { model, calls } = fakeModel(undefined, ({ frameId }) => {
    const { says, probability = 0.9 } = pictures[Number(frameId!.split('-')[1])]!;
    return { value: says, probability };
  });
  const looks: TrialLook[] = [];
  const options = {
    watch,
    pictures: pictures.map(({ second, level, isGone }, index) => ({
      atMs: NOON + second * 1000,
      load: async () => (isGone ? undefined : fakeFrame(index, level ?? (index % 2) * 100)),
    })),
    change: { meanThreshold: 4, blockThreshold: 16 },
    model: { use: async <T>(work: (loaded: typeof model) => Promise<T>) => work(model) },
    caller: 'test',
    signal: stop.signal,
  };
  for await (const seen of replay(options)) looks.push(seen);
  return { looks, calls, events: looks.map(({ event }) => event) };
}

test('an event begins and ends where the answer changes', async () => {
  const says = [false, true, true, false, true];
  const { events, looks } = await run(
    person,
    says.map((each, second) => ({ second, says: each })),
  );
  expect(events).toEqual([null, 'new', null, 'end', 'new']);
  expect(looks.map(({ isLasting }) => isLasting)).toEqual([false, true, true, false, true]);
  expect(looks[1]).toMatchObject({ answer: true, probability: 0.9, value: true });
});

test('its hysteresis holds as it would live: two of three must agree, and an unsure answer is none', async () => {
  const watch = { ...person, agree: { count: 2, of: 3 }, minProbability: 0.7 };
  const { events } = await run(watch, [
    { second: 0, says: false },
    { second: 1, says: true },
    { second: 2, says: false },
    { second: 3, says: true, probability: 0.6 },
    { second: 4, says: true },
    { second: 5, says: true },
  ]);
  expect(events).toEqual([null, null, null, null, 'new', null]);
});

test('a picture that shows nothing new is not asked about, one that is not decided on is', async () => {
  const still = (says: boolean, second: number): Picture => ({ second, says, level: 10 });
  const { calls } = await run(person, [still(false, 0), still(false, 1), still(false, 2)]);
  expect(calls).toHaveLength(1);
  const unsettled = { ...person, agree: { count: 2, of: 2 } };
  const again = await run(unsettled, [still(true, 0), still(true, 1), still(true, 2)]);
  expect(again.calls).toHaveLength(2);
  expect(again.events).toEqual([null, 'new', null]);
});

test('an interval, hours and quiet time go by the time of the pictures', async () => {
  const pictures = [0, 4, 10, 14, 20].map((second, index) => ({ second, says: index % 2 === 0 }));
  const { looks } = await run({ ...person, intervalSeconds: 10 }, pictures);
  expect(looks.map(({ answer }) => answer)).toEqual([true, null, true, null, true]);
  const early = { ...person, schedule: [{ from: '12:00', to: '12:01' }] };
  const { events } = await run(early, [
    { second: 59, says: true },
    { second: 61, says: true },
  ]);
  expect(events).toEqual(['new', 'end']);
  const quiet = await run({ ...person, quietSeconds: 30 }, [
    { second: 0, says: true },
    { second: 1, says: false },
    { second: 40, says: false },
  ]);
  expect(quiet.events).toEqual(['new', null, 'end']);
});

test('it gives way to everything else, passes over pictures that are gone, and ends when it is told to', async () => {
  const stop = new AbortController();
  const { calls, looks } = await run(person, [
    { second: 0, says: true, isGone: true },
    { second: 1, says: true },
  ]);
  expect(looks.map(({ answer }) => answer)).toEqual([null, true]);
  expect(calls[0]?.options).toMatchObject({ priority: 'description', caller: 'test' });
  stop.abort(new Error('stopped'));
  await expect(run(person, [{ second: 0, says: true }], stop)).rejects.toThrow('stopped');
});
