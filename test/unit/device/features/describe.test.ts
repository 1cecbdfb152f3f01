import { SdkError } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { startDescribe } from '#device/features/describe.js';
import { fakeAnswer, fakeContext, fakeFrame, fakeModel } from '../../../support/device-fakes.js';

const settings = { describe: { minIntervalSeconds: 2, maxSilenceSeconds: 60, change: { mean: 4, block: 16 } } };

describe('descriptions', () => {
  test('are about the frame that gave the reason, however many came meanwhile', async () => {
    let finish = () => {};
    const { model, calls } = fakeModel(() => new Promise((resolve) => (finish = resolve)));
    const context = await fakeContext(model, settings);
    await using _running = startDescribe(context);
    const [feed] = context.feeds;
    feed!.push(fakeFrame(1));
    await context.next('frame');
    feed!.push(fakeFrame(2, 200));
    feed!.push(fakeFrame(3, 200));
    finish();
    const scene = await context.next('scene');
    expect(scene.body).toMatchObject({ trigger: 'first', answer: { text: 'describe cam-1' } });
    expect(scene.body.frame.id).toBe('cam-1');
    expect(scene.frame?.id).toBe('cam-1');
    expect(scene.camera).toBe('cam');
    expect(calls[0]?.options).toMatchObject({ priority: 'description', caller: 'cam' });
  });

  test('carry boxes of what is there, where the model writes boxes', async () => {
    const { model } = fakeModel();
    const box = { x1: 0, y1: 0, x2: 1, y2: 1 };
    const object = { label: 'red cup', box, boxPixels: [0, 0, 64, 48], score: 1, source: 'text' } as const;
    const asked: string[] = [];
    const boxing = {
      ...model,
      info: { ...model.info, writesBoxes: true, prompts: { describe: '', list: 'List all.', locate: '' } },
      ask: async (_frame: unknown, question: string) => {
        asked.push(question);
        return { ...fakeAnswer('[]'), objects: [object] };
      },
    } as unknown as typeof model;
    const context = await fakeContext(boxing, settings);
    await using _running = startDescribe(context);
    context.feeds[0]!.push(fakeFrame(1));
    const { answer } = (await context.next('scene')).body;
    const objects = [{ ...object, trackId: 1 }];
    expect(answer).toMatchObject({ text: 'describe cam-1', objects, usage: { promptTokens: 20 } });
    expect(asked).toEqual(['List all.']);
    const without = await fakeContext(boxing, { describe: { objects: false } });
    await using _other = startDescribe(without);
    without.feeds[0]!.push(fakeFrame(1));
    expect((await without.next('scene')).body.answer.objects).toEqual([]);
  });

  test('follow what they list, and say what is gone; what comes after privacy is new', async () => {
    const { model } = fakeModel();
    const box = { x1: 0, y1: 0, x2: 1, y2: 1 };
    const object = { label: 'red cup', box, boxPixels: [0, 0, 64, 48], score: 1, source: 'text' } as const;
    let objects: readonly (typeof object)[] = [object];
    const prompts = { describe: '', list: 'List all.', locate: '' };
    const boxing = {
      ...model,
      info: { ...model.info, writesBoxes: true, prompts },
      ask: async () => ({ ...fakeAnswer('[]'), objects }),
    } as unknown as typeof model;
    const context = await fakeContext(boxing, { describe: { minIntervalSeconds: 0, maxSilenceSeconds: 1 } });
    let isPrivate = false;
    let changed = () => {};
    const isOn = (_camera: string, setting: string) => (setting === 'privacy' ? isPrivate : true);
    const settings = {
      isOn,
      onChange: (listener: () => void) => {
        changed = listener;
        return () => {};
      },
    };
    await using running = startDescribe(context, settings);
    let count = 0;
    const sceneAfter = async (seconds: number) => {
      context.advance(seconds * 1000);
      count++;
      context.feeds[0]!.push({ ...fakeFrame(count), capturedAtMs: seconds * 1000 + count * 1000 });
      const { answer, endedTracks } = (await context.next('scene', count)).body;
      return [answer.objects.map(({ trackId }) => trackId), endedTracks];
    };
    expect(await sceneAfter(1)).toEqual([[1], []]);
    expect(await sceneAfter(2)).toEqual([[1], []]);
    objects = [];
    expect(await sceneAfter(3)).toEqual([[], []]);
    expect(await sceneAfter(1_000)).toEqual([[], [1]]);
    objects = [object];
    expect(await sceneAfter(1_001)).toEqual([[2], []]);
    isPrivate = true;
    changed();
    await running.reconfigure();
    isPrivate = false;
    changed();
    await running.reconfigure();
    expect(await sceneAfter(1_002)).toEqual([[3], []]);
  });

  test('are switched off and on, and end where privacy begins', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model, { cameras: [{ id: 'cam', address: 'test:moving', describe: false }] });
    const on = new Set<string>();
    let changed = () => {};
    const switches = {
      isOn: (_camera: string, setting: string) => on.has(setting),
      onChange: (listener: () => void) => {
        changed = listener;
        return () => {};
      },
    };
    await using running = startDescribe(context, switches);
    const [feed] = context.feeds;
    feed!.push(fakeFrame(1));
    on.add('describe');
    changed();
    await context.next('scene');
    on.add('privacy');
    changed();
    await running.reconfigure();
    context.advance(60_000);
    feed!.push(fakeFrame(2, 200));
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toHaveLength(1);
    on.delete('privacy');
    changed();
    await context.next('scene', 2);
    expect(calls).toHaveLength(2);
  });

  test('come when enough has changed, not sooner than the shortest pause', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model, settings);
    await using _running = startDescribe(context);
    const [feed] = context.feeds;
    feed!.push(fakeFrame(1, 0));
    await context.next('scene');
    context.advance(1_999);
    feed!.push(fakeFrame(2, 200)); // changed, too soon
    await feed!.drained();
    context.advance(1);
    feed!.push(fakeFrame(3, 1)); // late enough, too little
    await feed!.drained();
    expect(calls).toHaveLength(1);
    feed!.push(fakeFrame(4, 200));
    expect((await context.next('scene', 2)).body).toMatchObject({ trigger: 'change', frame: { id: 'cam-4' } });
  });

  test('come again after the longest silence, measured by a clock that nobody sets', async () => {
    const { model } = fakeModel();
    const context = await fakeContext(model, settings);
    await using _running = startDescribe(context);
    const [feed] = context.feeds;
    feed!.push(fakeFrame(1));
    await context.next('scene');
    context.advance(59_999);
    feed!.push(fakeFrame(2));
    await feed!.drained();
    context.advance(1);
    feed!.push(fakeFrame(3));
    expect((await context.next('scene', 2)).body).toMatchObject({ trigger: 'interval', frame: { id: 'cam-3' } });
  });

  test('neither stop nor come at once when the clock is set back by a year, or forward', async () => {
    const { model } = fakeModel();
    const context = await fakeContext(model, settings);
    await using _running = startDescribe(context);
    const [feed] = context.feeds;
    feed!.push(fakeFrame(1));
    await context.next('scene');
    for (const [count, wallMs] of [
      [2, -365 * 86_400_000],
      [3, 2 * 365 * 86_400_000],
    ] as const) {
      context.setWall(wallMs);
      context.advance(59_999);
      feed!.push(fakeFrame(10 * count));
      await feed!.drained();
      expect(context.events.filter(({ kind }) => kind === 'scene')).toHaveLength(count - 1);
      context.advance(1);
      feed!.push(fakeFrame(10 * count + 1));
      expect((await context.next('scene', count)).body.trigger).toBe('interval');
    }
  });

  test('that fail are a problem of that camera until one succeeds', async () => {
    let failures = 1;
    const { model } = fakeModel(async () => {
      if (failures-- > 0) throw new SdkError('ERR_ENGINE_FAILED', 'once');
    });
    const context = await fakeContext(model, settings);
    await using _running = startDescribe(context);
    const [feed] = context.feeds;
    feed!.push(fakeFrame(1));
    const failed = await context.next('problem');
    expect(failed.body).toMatchObject({ part: 'descriptions/cam', problem: { code: 'ERR_ENGINE_FAILED' } });
    feed!.push(fakeFrame(2)); // after a pause
    expect((await context.next('scene')).body.frame.id).toBe('cam-2');
    expect((await context.next('problem', 2)).body.problem).toBeNull();
  });

  test('end with the clip, and are not made for cameras that only answer', async () => {
    const { model, calls } = fakeModel();
    const cameras = [
      { id: 'clip', address: 'test:moving' },
      { id: 'mute', address: 'test:moving', describe: false },
    ];
    const context = await fakeContext(model, { cameras });
    const running = startDescribe(context);
    const [clip, mute] = context.feeds;
    mute!.push(fakeFrame(1));
    clip!.push(fakeFrame(2));
    clip!.push('end');
    await context.next('scene');
    await running[Symbol.asyncDispose]();
    expect(calls.map(({ frameId }) => frameId)).toEqual(['cam-2']);
  });

  test('stop while the model works', async () => {
    const { model, calls } = fakeModel(
      ({ options }) =>
        new Promise((_, reject) => options.signal?.addEventListener('abort', () => reject(options.signal?.reason))),
    );
    const context = await fakeContext(model, settings);
    const running = startDescribe(context);
    context.feeds[0]!.push(fakeFrame(1));
    await context.next('frame');
    await running[Symbol.asyncDispose]();
    expect(calls).toHaveLength(1);
    expect(context.problems.list).toEqual([]);
  });

  test('follow the settings of their camera before those for all', async () => {
    const { model, calls } = fakeModel();
    const context = await fakeContext(model, {
      describe: { ...settings.describe, prompt: 'Everything?' },
      cameras: [
        { id: 'till', address: 'a', prompt: 'Who waits?', minIntervalSeconds: 10, change: { mean: 100 } },
        { id: 'door', address: 'b' },
      ],
    });
    await using _running = startDescribe(context);
    const [till, door] = context.feeds;
    till!.push(fakeFrame(1, 0));
    await context.next('scene');
    door!.push(fakeFrame(1, 0));
    await context.next('scene', 2);
    expect(calls.map(({ question }) => question)).toEqual(['Who waits?', 'Everything?']);
    expect(calls[0]?.options).toMatchObject({ priority: 'description', caller: 'till' });
    context.advance(2_000);
    till!.push(fakeFrame(2, 200)); // too soon for this camera
    await till!.drained();
    door!.push(fakeFrame(3, 200));
    await context.next('scene', 3);
    expect(calls).toHaveLength(3);
    context.advance(8_000);
    till!.push(fakeFrame(4, 12)); // below its own threshold of the mean and the common one of a block
    await till!.drained();
    expect(calls).toHaveLength(3);
    till!.push(fakeFrame(5, 200));
    expect((await context.next('scene', 4)).camera).toBe('till');
  });

  test('rest outside of the hours of their camera', async () => {
    const { model, calls } = fakeModel();
    // The clock of the test begins on a Wednesday at noon.
    const schedule = [{ days: ['wed' as const], from: '12:01', to: '13:00' }];
    const context = await fakeContext(model, { ...settings, cameras: [{ id: 'cam', address: 'a', schedule }] });
    await using _running = startDescribe(context);
    const [feed] = context.feeds;
    feed!.push(fakeFrame(1));
    await feed!.drained();
    expect(calls).toHaveLength(0);
    context.advance(60_000);
    feed!.push(fakeFrame(2));
    await context.next('scene');
    context.advance(59 * 60_000);
    feed!.push(fakeFrame(3, 200));
    await feed!.drained();
    expect(calls).toHaveLength(1);
  });
});
