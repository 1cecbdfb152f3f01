import { encodeJpeg, type Likelihoods, SdkError } from 'scenebus';
import type { RequestOf, ResultOf } from 'scenebus/bus';
import { expect, test } from 'vitest';
import { startFind } from '#device/features/find.js';
import { fakeContext, fakeFrame, fakeModel } from '../../../support/device-fakes.js';
import { writeDescribedFrames } from '../../../support/found-journal.js';

async function start(config = {}, isThere = true) {
  const asked: unknown[] = [];
  const { model } = fakeModel();
  const likelihood = async (image: { data: Uint8Array } | undefined, texts: string[], options: object) => {
    asked.push(options);
    const logProbability = (image?.data[0] ?? 0) - 300;
    return { texts: texts.map((text) => ({ text, logProbability, tokens: 1 })) } as unknown as Likelihoods;
  };
  const gone = new SdkError('ERR_ENGINE_DIED', 'gone');
  const context = await fakeContext(isThere ? Object.assign(model, { likelihood }) : gone, config);
  const jpeg = await encodeJpeg(fakeFrame(1, 90));
  const store = writeDescribedFrames(':memory:', [
    { id: 'a', description: 'A red cup.', camera: 'door', jpeg },
    { id: 'b', description: 'A cup.', camera: 'desk', jpeg: await encodeJpeg(fakeFrame(1, 200)) },
  ]);
  const hidden = new Set<string>();
  let handler: (request: never, call: never) => Promise<unknown> = async () => undefined;
  startFind({
    context,
    journal: {
      findScenes: async (search) => store.findScenes(search),
      frame: async (id, { run } = {}) => store.frame(id, run),
    },
    settings: { isOn: (camera, setting) => setting === 'privacy' && hidden.has(camera) },
    verbs: { handle: ((_verb: string, given: typeof handler) => (handler = given)) as never },
  });
  const call = { signal: new AbortController().signal, client: 'me', deadlineMs: 0, partial: undefined };
  const find = async (request: RequestOf<'find'>) =>
    (await handler(request as never, call as never)) as ResultOf<'find'>;
  return { find, hidden, asked };
}

test('kept frames are found by what they show, with the model that ranked them', async () => {
  const { find, asked } = await start();
  const found = await find({ text: 'a red cup', priority: 'low' });
  expect(found).toMatchObject({ rankedBy: 'likelihood', looked: 2, model: { id: 'fake', hash: 'hash' } });
  expect(found.frames.map(({ frameId }) => frameId)).toEqual(['b', 'a']);
  expect(found.frames[0]).toMatchObject({
    camera: 'desk',
    frameTs: '1970-01-01T00:00:02.000Z',
    frameRun: 'run',
    description: 'A cup.',
    image: { width: 384, height: 384 },
    thumbnail: '/api/frames/b?run=run&camera=desk&size=thumbnail',
  });
  expect(asked[1]).toMatchObject({ priority: 'description', caller: expect.stringContaining('me') });
  expect((await find({ text: 'a red cup', camera: 'door', limit: 1 })).frames).toMatchObject([{ frameId: 'a' }]);
  expect((await find({ text: 'a red cup', fromMs: 2000 })).frames).toMatchObject([{ frameId: 'b' }]);
});

test('nothing of a camera is found while its privacy is on', async () => {
  const { find, hidden } = await start();
  hidden.add('desk');
  expect((await find({ text: 'cup' })).frames.map(({ camera }) => camera)).toEqual(['door']);
});

test('without a model words alone decide, and the answer says so', async () => {
  const { find } = await start({}, false);
  const found = await find({ text: 'a red cup' });
  expect(found).toMatchObject({ rankedBy: 'words', looked: 0, notices: [expect.stringMatching(/no model/)] });
  expect(found.frames[0]).toMatchObject({ frameId: 'a' });
  expect(found).not.toHaveProperty('model');
});

test('a device without a journal and a text without words are refused', async () => {
  const { find } = await start();
  await expect(find({ text: '?!' })).rejects.toMatchObject({ code: 'ERR_REQUEST_INVALID' });
  const without = await start({ journal: { enabled: false } });
  await expect(without.find({ text: 'cup' })).rejects.toMatchObject({
    code: 'ERR_REQUEST_UNSUPPORTED',
    message: expect.stringContaining('journal.enabled'),
  });
});
