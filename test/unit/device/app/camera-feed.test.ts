import { SdkError, silentLogger } from 'scenebus';
import { type Clock, systemClock } from 'scenebus/service';
import { describe, expect, test } from 'vitest';
import { CameraFeed } from '#device/app/camera-feed.js';
import { FakeCamera, fakeContext, fakeFrame, fakeModel } from '../../../support/device-fakes.js';

async function startFeed(clock: Clock = systemClock) {
  const camera = new FakeCamera();

  const context = await fakeContext(fakeModel().model);
  const { hub, problems, config } = context;
  const feed = CameraFeed.start({
    config: config.cameras[0]!,
    camera,
    staleSeconds: () => 10,
    hub,
    problems,
    logger: silentLogger,
    clock,
  });
  await context.next('status');
  return { camera, feed, context };
}

describe('a camera feed', () => {
  test('says what the camera does, in the words of the bus, with the frame it speaks of', async () => {
    const { camera, feed, context } = await startFeed();
    expect((await context.next('status')).body).toMatchObject({ state: 'starting', frameId: null, reason: null });
    camera.newest = fakeFrame(1);
    await feed.latestFrame();
    camera.set('streaming');
    const running = await context.next('status', 2);
    expect(running.body).toMatchObject({ state: 'running', frameId: 'cam-1', image: { width: 64, height: 48 } });
    expect(running.frame?.id).toBe('cam-1');
    await feed[Symbol.asyncDispose]();
    expect(context.events.filter(({ kind }) => kind === 'status').at(-1)?.body).toMatchObject({ state: 'stopped' });
  });

  test('makes a lost camera a problem until it streams again', async () => {
    const { camera, feed, context } = await startFeed();
    camera.set('reopening', new SdkError('ERR_CAPTURE_LOST', 'unplugged'));
    const lost = await context.next('problem');
    expect(lost.body).toMatchObject({ part: 'camera/cam', problem: { code: 'ERR_CAPTURE_LOST' } });
    expect((await context.next('status', 2)).body.reason).toEqual({ code: 'ERR_CAPTURE_LOST', message: 'unplugged' });
    camera.set('streaming');
    expect((await context.next('problem', 2)).body.problem).toBeNull();
    camera.set('failed', new SdkError('ERR_CAPTURE_NOT_FOUND', 'gone'));
    await context.next('problem', 3);
    expect(feed.hasFailed).toBe(true);
    await feed[Symbol.asyncDispose]();
  });

  test('gives the frame it knows while the camera has no newer one, and reads a newer one', async () => {
    const { camera, feed } = await startFeed();
    camera.set('streaming');
    camera.newest = fakeFrame(1);
    expect((await feed.latestFrame()).id).toBe('cam-1');
    expect((await feed.latestFrame()).id).toBe('cam-1');
    expect(camera.reads).toBe(1);
    camera.newest = fakeFrame(2);
    expect((await feed.latestFrame()).id).toBe('cam-2');
    camera.newest = fakeFrame(3);
    for await (const frame of feed.frames({})) expect(frame.id).toBe('cam-3');
    expect((await feed.latestFrame()).id).toBe('cam-3'); // the loop's frame counts
    expect(camera.reads).toBe(2);
    await feed[Symbol.asyncDispose]();
  });

  test('gives the last frame of a clip that is over, and the reason when there never was one', async () => {
    const { camera, feed } = await startFeed();
    await expect(feed.latestFrame()).rejects.toMatchObject({ code: 'ERR_CAPTURE_TIMEOUT' });
    camera.newest = fakeFrame(9);
    await feed.latestFrame();
    camera.set('ended');
    expect((await feed.latestFrame()).id).toBe('cam-9');
    await feed[Symbol.asyncDispose]();
  });

  test('counts ages by the monotonic clock: the wall clock may be set back by a year', async () => {
    let [monotonicMs, wallMs] = [50_000, 1_900_000_000_000];
    const { camera, feed, context } = await startFeed({ monotonicMs: () => monotonicMs, wallMs: () => wallMs });
    camera.set('streaming');
    camera.newest = { ...fakeFrame(1), capturedAtMs: wallMs, capturedAtMonotonicMs: monotonicMs };
    expect((await feed.latestFrame()).id).toBe('cam-1');
    wallMs -= 365 * 86_400_000;
    monotonicMs += 40;
    camera.newest = { ...fakeFrame(2), capturedAtMs: wallMs, capturedAtMonotonicMs: monotonicMs };
    expect((await feed.latestFrame()).id).toBe('cam-2'); // though its stamp is older
    monotonicMs += 1500;
    await feed.reportStatus();
    expect(context.events.filter(({ kind }) => kind === 'status').at(-1)?.body).toMatchObject({ lastFrameAgeMs: 1500 });
    expect(feed.noticesFor(camera.newest)).toEqual([]);
    monotonicMs += 3 * 60_000;
    expect(feed.noticesFor(camera.newest)).toEqual([expect.stringContaining('3 minutes old')]);
    await feed[Symbol.asyncDispose]();
  });

  test('says of a clip that has ended, and of a picture that stands still, that they are not of now', async () => {
    const { camera, feed, context } = await startFeed();
    camera.newest = { ...fakeFrame(1), capturedAtMonotonicMs: systemClock.monotonicMs() - 7_200_000 };
    camera.set('stalled', new SdkError('ERR_CAPTURE_STALLED', 'still', { details: { seconds: 300 } }));
    expect((await context.next('problem')).body.problem).toMatchObject({ code: 'ERR_CAPTURE_STALLED' });
    expect(feed.noticesFor(fakeFrameOfNow())).toEqual([expect.stringMatching(/has not changed for 5 minutes/)]);
    camera.set('ended');
    expect(feed.noticesFor(camera.newest)).toEqual([expect.stringMatching(/clip has ended.*2 hours old/)]);
    await feed[Symbol.asyncDispose]();
  });

  test('does not wait for a camera that is down', async () => {
    const { camera, feed } = await startFeed();
    await feed.latestFrame().catch(() => {});
    expect(camera.lastRead).toMatchObject({ whileDown: 'reject' });
    await feed[Symbol.asyncDispose]();
  });
});

function fakeFrameOfNow() {
  return { ...fakeFrame(1), capturedAtMonotonicMs: systemClock.monotonicMs() };
}
