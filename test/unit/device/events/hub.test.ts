import type { Logger } from 'scenebus';
import { describe, expect, test } from 'vitest';
import type { AnyDeviceEvent } from '#device/events/events.js';
import { EventHub, type EventRecorder } from '#device/events/hub.js';
import { Problems } from '#device/events/problems.js';
import { SdkError } from '#sdk/core/errors.js';
import { fakeFrame } from '../../../support/device-fakes.js';

const info = { versions: {}, model: null, cameras: [] };
const problem = (part: string) => ({ part, problem: null });

/** Keeps an event when the test says so. */
function recorder() {
  const events: AnyDeviceEvent[] = [];
  const kept: (() => void)[] = [];
  const record: EventRecorder['record'] = (event) => {
    events.push(event);
    return new Promise((resolve) => kept.push(resolve));
  };
  return { record, events, kept };
}

describe('the event hub', () => {
  test('records an event before anybody is told of it', async () => {
    const store = recorder();
    const hub = new EventHub({ recorder: store });
    const told: string[] = [];
    hub.on('problem', ({ body }) => told.push(body.part));
    const emitted = hub.emit('problem', problem('a'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(store.events.map(({ kind }) => kind)).toEqual(['problem']);
    expect(told).toEqual([]);
    store.kept[0]?.();
    await emitted;
    expect(told).toEqual(['a']);
  });

  test('tells of events in the order in which they were emitted, whatever is recorded first', async () => {
    const store = recorder();
    const hub = new EventHub({ recorder: store });
    const told: string[] = [];
    hub.on('problem', ({ body }) => told.push(body.part));
    hub.on('info', () => told.push('info'));
    void hub.emit('problem', problem('a'));
    void hub.emit('problem', problem('b'));
    void hub.emit('info', info, { isKept: false }); // not recorded, and yet not earlier
    store.kept[1]?.();
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual([]);
    store.kept[0]?.();
    await hub.idle();
    expect(told).toEqual(['a', 'b', 'info']);
    expect(store.events).toHaveLength(2);
  });

  test('gives every event an id of its own that sorts in order, and the frame without its pixels', async () => {
    const hub = new EventHub({ run: 'r1', wallMs: () => 7 });
    const frame = fakeFrame(3);
    const first = await hub.emit('problem', problem('a'), { camera: 'cam', frame });
    const second = await hub.emit('problem', problem('b'));
    expect(first).toMatchObject({ id: 'r1-000000001', atMs: 7, camera: 'cam' });
    expect(first.frame).toEqual({ id: 'cam-3', capturedAtMs: 1003, width: 64, height: 48 });
    expect(second.id > first.id).toBe(true);
    expect(new EventHub().run).not.toBe(new EventHub().run);
  });

  test('goes on when a listener throws, when recording fails, and after a listener has left', async () => {
    const logged: string[] = [];
    const logger: Logger = { log: (_level, message) => void logged.push(message) };
    const hub = new EventHub({ logger, recorder: { record: () => Promise.reject(new Error('disk')) } });
    const told: string[] = [];
    hub.on('problem', () => {
      throw new Error('listener');
    });
    const leave = hub.on('problem', ({ body }) => told.push(body.part));
    await hub.emit('problem', problem('a'));
    leave();
    await hub.emit('problem', problem('b'));
    expect(told).toEqual(['a']);
    expect(logged.filter((message) => /listener/.test(message))).toHaveLength(2);
    expect(logged.filter((message) => /recorded/.test(message))).toHaveLength(2);
  });
});

describe('problems', () => {
  test('are events when they come, change and go, and only then', async () => {
    const hub = new EventHub();
    const told: (string | undefined)[] = [];
    hub.on('problem', ({ body }) => told.push(body.problem?.message));
    const problems = new Problems(hub);
    const lost = new SdkError('ERR_CAPTURE_LOST', 'lost');
    problems.report('camera/a', lost);
    problems.report('camera/a', lost);
    expect(problems.list).toEqual([{ code: 'ERR_CAPTURE_LOST', message: 'lost', retryable: true }]);
    problems.report('camera/a', new SdkError('ERR_CAPTURE_LOST', 'still lost'));
    problems.clear('camera/a');
    problems.clear('camera/a');
    await hub.idle();
    expect(told).toEqual(['lost', 'still lost', undefined]);
    expect(problems.list).toEqual([]);
  });
});
