import { silentLogger } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { EventHub } from '#device/events/hub.js';
import { MetricsSink } from '#device/sinks/metrics-sink.js';
import { fakeAnswer, fakeFrame } from '../../../support/device-fakes.js';

async function open() {
  const hub = new EventHub();
  const sink = await MetricsSink.start({ hub, logger: silentLogger, host: '127.0.0.1', port: 0 });
  const get = async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${sink.port}${path}`, { method });
    return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
  };
  return { hub, sink, get };
}
const model = { id: 'fake' };
const health = (
  state: 'running' | 'degraded',
  problems: { code: string; message: string; retryable: boolean }[] = [],
) => ({
  state,
  problems,
  uptimeSeconds: 5,
  memory: { processRssBytes: 1_000 },
  metrics: { eventsDroppedQueueFull: 3 },
});

describe('metrics', () => {
  test('tell of events, of where the time went, of cameras and of the device’s own numbers', async () => {
    const { hub, sink, get } = await open();
    await using _sink = sink;
    const about = { camera: 'cam', frame: fakeFrame(1) };
    await hub.emit('scene', { frame: fakeFrame(1), answer: fakeAnswer('A dog'), model, trigger: 'first' }, about);
    const answer = { verb: 'ask', question: '?', answer: fakeAnswer('Yes'), model, error: null };
    await hub.emit('answer', answer, about);
    const error = { code: 'ERR_BUSY', message: 'later', retryable: true };
    await hub.emit('answer', { ...answer, answer: null, model: null, error }, about);
    const status = { state: 'running', lastFrameAgeMs: 250 } as const;
    await hub.emit(
      'status',
      { ...status, frameId: null, frameTs: null, image: null, framesPerSecond: null, reason: null },
      about,
    );
    await hub.emit('health', health('running'));
    const { status: code, type, text } = await get('/metrics');
    expect(code).toBe(200);
    expect(type).toMatch(/^text\/plain; version=0\.0\.4/);
    for (const line of [
      'scenebus_events_total{kind="scene",camera="cam"} 1',
      'scenebus_events_total{kind="answer",camera="cam"} 1',
      'scenebus_failed_answers_total{code="ERR_BUSY"} 1',
      'scenebus_model_seconds_bucket{le="0.01",kind="scene",camera="cam",stage="total"} 1',
      'scenebus_model_seconds_sum{kind="answer",camera="cam",stage="decode"} 0.003',
      'scenebus_camera_running{camera="cam"} 1',
      'scenebus_camera_frame_age_seconds{camera="cam"} 0.25',
      'scenebus_health_events_dropped_queue_full 3',
      'scenebus_health_process_rss_bytes 1000',
      'scenebus_health_uptime_seconds 5',
    ])
      expect(text).toContain(`${line}\n`);
    expect(text).toContain('scenebus_nodejs_eventloop_lag_seconds');
    // Their timer would wake an idle device 100 times a second.
    expect(text).not.toMatch(/eventloop_lag_(min|max|mean|stddev|p\d+)_seconds/);
  });

  test('say whether the device is well, and why not', async () => {
    const { hub, sink, get } = await open();
    await using _sink = sink;
    expect((await get('/healthz')).status).toBe(503); // starting
    await hub.emit('health', health('running'));
    expect(await get('/healthz')).toMatchObject({ status: 200, text: '{"state":"running","problems":[]}\n' });
    const problem = { code: 'ERR_CAPTURE_LOST', message: 'unplugged', retryable: true };
    await hub.emit('health', health('degraded', [problem]));
    const ill = await get('/healthz');
    expect(ill.status).toBe(200); // it serves on
    expect(JSON.parse(ill.text)).toEqual({ state: 'degraded', problems: [problem] });
    expect((await get('/')).status).toBe(404);
    expect((await get('/metrics', 'POST')).status).toBe(405);
  });

  test('need an address of their own', async () => {
    const { sink } = await open();
    await using _sink = sink;
    const again = MetricsSink.start({ hub: new EventHub(), logger: silentLogger, host: '127.0.0.1', port: sink.port });
    await expect(again).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
  });
});
