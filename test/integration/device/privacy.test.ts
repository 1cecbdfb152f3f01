/** What a privacy mask covers is seen by nobody: not by the model, not in the journal, not on the bus. */
import { decodeImage, type Frame } from 'scenebus';
import { connectClient } from 'scenebus/client';
import { expect, test } from 'vitest';
import { DeviceService } from '#device/app/device-service.js';
import { startMosquitto } from '../../support/brokers.js';
import { FakeCamera, fakeFrame, fakeModel } from '../../support/device-fakes.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { deviceName, makeConfig } from './demo-device.js';

const SECRET = 250;
const PUBLIC = 10;

/** The left half is nobody's business. */
function pictureWithSecret(number: number): Frame {
  const frame = fakeFrame(number);
  const data = frame.data.map((_, i) => ((i / 3) % frame.width < frame.width / 2 ? SECRET : PUBLIC));
  return { ...frame, data };
}

/** Brightest level of the left and of the right half. */
function brightest({ data, width }: Pick<Frame, 'data' | 'width'>) {
  const levels = { left: 0, right: 0 };
  data.forEach((level, i) => {
    const side = (i / 3) % width < width / 2 ? 'left' : 'right';
    levels[side] = Math.max(levels[side], level);
  });
  return levels;
}

test('keeps what a mask covers from the model, the journal, a snapshot and every message', async () => {
  await using broker = await startMosquitto();
  const camera = new FakeCamera();
  camera.newest = pictureWithSecret(1);
  camera.set('streaming');
  const seen: Frame[] = [];
  const { model } = fakeModel();
  const watching = {
    ...model,
    describe: (image: Frame) => {
      seen.push(image);
      return model.describe(image);
    },
    ask: (image: Frame, question: string) => {
      seen.push(image);
      return model.ask(image, question);
    },
  } as typeof model;
  const mask: [number, number][] = [
    [0, 0],
    [0.49, 0],
    [0.49, 1],
    [0, 1],
  ];
  const config = await makeConfig({
    cameras: [{ id: 'till', address: 'test:moving', masks: [mask] }],
    broker: { url: broker.url },
    snapshots: true,
    journal: { directory: await makeTemporaryFolder('scenebus-privacy-'), frames: true },
  });
  await using service = await DeviceService.start(config, {
    parts: { openCamera: async () => camera, loadModel: async () => watching },
    requireBroker: true,
  });
  // The first description may be over before anybody can listen for it.
  while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  camera.newest = pictureWithSecret(2);
  await using client = await connectClient(broker.url);
  await client.ask(deviceName, 'What is there?');

  expect(seen.map(({ id }) => id)).toEqual(['cam-1', 'cam-2']);
  for (const frame of seen) expect(brightest(frame)).toEqual({ left: 128, right: PUBLIC });
  const snapshot = await client.snapshot(deviceName);
  expect(snapshot.frameId).toBe('cam-2');
  const pictures = await Promise.all(seen.map(({ id }) => keptFrame(service, id)));
  for (const picture of [...pictures, snapshot.jpeg]) {
    const { data, width } = await decodeImage(picture);
    const { left, right } = brightest({ data, width });
    // JPEG rounds, and bleeds over the edge of a mask: but only what was there to bleed, which is the fill.
    expect(left).toBeLessThan(160);
    expect(right).toBeLessThan(160);
  }
});

/** A picture is written soon after its event. */
async function keptFrame(service: DeviceService, id: string): Promise<Uint8Array> {
  for (;;) {
    const found = await service.journal.frame(id);
    if (found !== undefined) return found.jpeg;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
