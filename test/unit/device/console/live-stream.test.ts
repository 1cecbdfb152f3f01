import { silentLogger } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { LiveStream, type Viewer } from '#device/console/live/live-stream.js';
import { startConsole } from '../../../support/console.js';
import { type FakeFeed, fakeContext, fakeFrame, fakeModel } from '../../../support/device-fakes.js';

/** Counts what it is sent; asks for the next at once, when it is told to, or never takes what it was sent. */
class TestViewer implements Viewer {
  readonly messages: Uint8Array[] = [];
  isBehind = false;
  readonly #onMessage: (viewer: TestViewer) => void;

  constructor(onMessage: (viewer: TestViewer) => void = () => {}) {
    this.#onMessage = onMessage;
  }

  send(message: Uint8Array): void {
    this.messages.push(message);
    this.#onMessage(this);
  }
}

async function startStream() {
  const context = await fakeContext(fakeModel().model);
  const feed = context.feeds[0] as FakeFeed;
  const encoded: string[] = [];
  const stream = new LiveStream({
    camera: 'cam',
    feed: () => feed,
    maxFps: 60,
    logger: silentLogger,
    encode: async ({ id }) => {
      encoded.push(id);
      return Uint8Array.of(encoded.length);
    },
  });
  let number = 0;
  const show = async (frames: number) => {
    for (let i = 0; i < frames; i++) {
      feed.push(fakeFrame(++number));
      await feed.drained();
    }
  };
  const look = (onMessage?: (viewer: TestViewer) => void) => {
    const viewer = new TestViewer(onMessage);
    stream.add(viewer);
    return viewer;
  };
  return {
    stream,
    feed,
    encoded,
    show,
    look,
    eager: () => look((viewer) => stream.next(viewer)),
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
}

describe('LiveStream', () => {
  test.each([1, 8])('encodes each frame once for %i viewers, and sends all of them the same bytes', async (count) => {
    await using live = await startStream();
    const viewers = Array.from({ length: count }, live.eager);
    await live.feed.drained();
    await live.show(20);
    expect(live.encoded).toEqual(Array.from({ length: 20 }, (_, i) => `cam-${i + 1}`));
    for (const { messages } of viewers) {
      expect(messages).toHaveLength(20);
      for (const [index, message] of messages.entries()) expect(message).toBe(viewers[0]!.messages[index]);
    }
  });

  test('a slow viewer gets fewer pictures, each the newest, and holds up nobody', async () => {
    await using live = await startStream();
    const [slow, fast] = [live.look(), live.eager()];
    await live.feed.drained();
    await live.show(5);
    live.stream.next(slow);
    await live.show(5);
    expect(fast.messages).toHaveLength(10);
    expect(slow.messages).toEqual([fast.messages[0], fast.messages[5]]);
    expect(live.encoded).toHaveLength(10);
  });

  test('who keeps up asks for several pictures at once, but not for more than four', async () => {
    await using live = await startStream();
    const viewer = live.look();
    await live.feed.drained();
    await live.show(1);
    live.stream.next(viewer, 3);
    await live.show(5);
    expect(viewer.messages).toHaveLength(4);
    for (let i = 0; i < 5; i++) live.stream.next(viewer, 9);
    await live.show(10);
    expect(viewer.messages).toHaveLength(8);
  });

  test('encodes nothing while those who look have not asked, and nothing when nobody looks', async () => {
    await using live = await startStream();
    const viewer = live.look();
    await live.feed.drained();
    await live.show(4);
    expect(live.encoded).toEqual(['cam-1']);
    live.stream.next(viewer);
    live.stream.remove(viewer);
    live.feed.push(fakeFrame(5));
    live.feed.push(fakeFrame(6));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(live.encoded).toEqual(['cam-1']);
    // Somebody comes back: not shown what is long gone, but the next frame.
    const back = live.eager();
    await expect.poll(() => back.messages.length, { timeout: 10_000 }).toBeGreaterThan(0);
    expect(live.encoded).not.toContain('cam-2');
  });

  test('sends no more to who asks on and on and never takes it', async () => {
    await using live = await startStream();
    const stalled = live.look((viewer) => {
      viewer.isBehind = true;
      live.stream.next(viewer);
    });
    await live.feed.drained();
    await live.show(50);
    expect(stalled.messages).toHaveLength(1);
    expect(live.encoded).toHaveLength(1);
    // It has taken everything, and goes on where the camera is now.
    stalled.isBehind = false;
    await live.show(1);
    expect(live.encoded).toEqual(['cam-1', 'cam-51']);
    expect(stalled.messages).toHaveLength(2);
  });
});

test('a socket that is never read holds one picture besides what the kernel takes, whatever it asks for', async () => {
  await using served = await startConsole();
  const { cookie } = await served.signIn();
  const origin = served.console.address;
  const socket = new WebSocket(`${origin.replace('http', 'ws')}/api/cameras/cam/live`, { headers: { cookie, origin } });
  await new Promise((resolve) => socket.once('open', resolve));
  socket.pause();
  const [feed] = served.context.feeds;
  const size = { width: 1_280, height: 720 };
  // Noise: some 500 kB as a JPEG.
  let seed = 1;
  const data = Uint8Array.from({ length: size.width * size.height * 3 }, () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed >> 16;
  });
  await feed!.drained();
  const SHOWN = 200;
  for (let number = 1; number <= SHOWN; number++) {
    for (let i = 0; i < 3; i++) socket.send('next');
    feed!.push({ ...fakeFrame(number), ...size, data });
    await feed!.drained();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const received: string[] = [];
  socket.on('message', (message: Buffer) => received.push(message.subarray(4, 60).toString('latin1')));
  socket.resume();
  // It goes on where the camera is now.
  const newest = fakeFrame(SHOWN + 1);
  const goesOn = async () => {
    socket.send('next');
    feed!.push({ ...newest, ...size, data });
    await feed!.drained();
    return received.some((header) => header.includes(`"${newest.id}"`));
  };
  await expect.poll(goesOn, { timeout: 30_000 }).toBe(true);
  socket.terminate();
  expect(received[0]).toContain('"cam-1"');
  // Two hundred were shown and asked for three times each; both kernels' buffers are some megabytes.
  expect(received.length).toBeLessThan(SHOWN / 4);
});
