import { describe, expect, test } from 'vitest';
import { configChanges, isSameSource } from '#device/app/config-changes.js';
import { fakeConfig } from '../../../support/device-fakes.js';

describe('changes of a configuration', () => {
  test('are none when nothing changed', async () => {
    const { applied, needsRestart } = configChanges(await fakeConfig(), await fakeConfig());
    expect({ applied, needsRestart }).toEqual({ applied: [], needsRestart: [] });
  });

  test('apply at once to cameras, descriptions, limits and pauses, each named', async () => {
    const now = await fakeConfig({
      cameras: [
        { id: 'a', address: '0' },
        { id: 'b', address: '1' },
      ],
    });
    const next = await fakeConfig({
      cameras: [
        { id: 'c', address: '2' },
        { id: 'a', address: '0', prompt: 'Who?' },
      ],
      ask: { perCaller: { burst: 3 } },
      describe: { maxSilenceSeconds: 5 },
      healthIntervalSeconds: 7,
      log: 'debug',
    });
    const { config, applied, needsRestart } = configChanges(now, next);
    expect(applied).toEqual([
      'ask.perCaller.burst',
      'cameras.a.prompt',
      'cameras.b',
      'cameras.c',
      'describe.maxSilenceSeconds',
      'healthIntervalSeconds',
      'log',
    ]);
    expect(needsRestart).toEqual([]);
    expect(config).toEqual(next);
  });

  test('wait for a restart where the model, the bus or the journal would have to be opened again', async () => {
    const now = await fakeConfig();
    const next = await fakeConfig({
      device: 'other',
      model: { directory: 'another', threads: 2 },
      broker: { url: 'mqtt://h' },
      journal: { frames: true },
      ask: { queueLength: 2, staleSeconds: 3 },
    });
    const { config, applied, needsRestart } = configChanges(now, next);
    expect(applied).toEqual(['ask.staleSeconds']);
    expect(needsRestart).toEqual([
      'ask.queueLength',
      'broker',
      'device',
      'journal.frames',
      'model.directory',
      'model.threads',
    ]);
    expect(config).toMatchObject({ device: 'fake', model: now.model, ask: { queueLength: 8, staleSeconds: 3 } });
  });

  test('leave a camera open unless its source or its masks change', async () => {
    const camera = async (more: object) =>
      (await fakeConfig({ cameras: [{ id: 'a', address: '0', ...more }] })).cameras[0]!;
    const before = await camera({});
    expect(isSameSource(before, await camera({ prompt: 'x', minIntervalSeconds: 1, describe: false }))).toBe(true);
    expect(isSameSource(before, await camera({ change: { mean: 1 }, maxSilenceSeconds: 9 }))).toBe(true);
    expect(isSameSource(before, await camera({ rotation: 90 }))).toBe(false);
    const mask: [number, number][] = [
      [0, 0],
      [1, 0],
      [0, 1],
    ];
    expect(isSameSource(before, await camera({ masks: [mask] }))).toBe(false);
  });
});
