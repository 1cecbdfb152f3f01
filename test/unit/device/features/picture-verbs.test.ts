import { type Answer, type Frame, SdkError } from 'scenebus';
import type { RequestOf, ResultOf, VerbName } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import type { CameraSettings } from '#device/features/camera-settings.js';
import { startPictureVerbs } from '#device/features/picture-verbs.js';
import { Pictures } from '#device/features/pictures.js';
import { decodeImage } from '#sdk/image/index.js';
import { fakeAnswer, fakeContext, fakeFrame, fakeModel } from '../../../support/device-fakes.js';

const signal = new AbortController().signal;

async function start(config = {}, model: Partial<ReturnType<typeof fakeModel>['model']> | SdkError = {}) {
  const fake = fakeModel();
  const given = model instanceof SdkError ? model : ({ ...fake.model, ...model } as typeof fake.model);
  const context = await fakeContext(given, config);
  let isPrivate = false;
  let changed = () => {};
  const settings: CameraSettings = {
    isOn: (_camera, setting) => setting === 'privacy' && isPrivate,
    onChange: (listener) => {
      changed = listener;
      return () => {};
    },
  };
  const handlers = new Map<string, (request: never, call: never) => Promise<unknown>>();
  const pictures = new Pictures(context, settings);
  startPictureVerbs({
    context,
    pictures,
    verbs: { handle: ((verb: string, handler: never) => handlers.set(verb, handler)) as never },
  });
  context.feeds[0]!.latest = fakeFrame(1, 90);
  return {
    context,
    calls: fake.calls,
    setPrivate(value: boolean) {
      isPrivate = value;
      changed();
    },
    async call<Verb extends VerbName>(verb: Verb, request: Partial<RequestOf<Verb>>, partial?: (text: string) => void) {
      const call = { signal, client: 'me', deadlineMs: 0, partial };
      return (await handlers.get(verb)!(request as never, call as never)) as ResultOf<Verb>;
    },
  };
}

const boxed = {
  writesBoxes: true,
  locates: true,
  prompts: { describe: 'Describe.', list: 'List.', locate: 'Where is the {label}?' },
};
const info = { name: 'fake', contentHash: 'hash', notices: [], ...boxed } as never;

describe('describe', () => {
  test('says what is there now, with the prompt of the request, the camera or the model', async () => {
    const run = await start({}, { info });
    const result = await run.call('describe', {});
    expect(result).toMatchObject({ camera: 'cam', frame: { id: 'cam-1' }, answer: { text: 'ask cam-1' } });
    await run.call('describe', { prompt: 'In one word?', maxNewTokens: 4, priority: 'low' });
    expect(run.calls.map(({ question }) => question)).toEqual(['Describe.', 'List.', 'In one word?', 'List.']);
    expect(run.calls[0]!.options).toMatchObject({ priority: 'question', caller: 'me', signal });
    expect(run.calls[2]!.options).toMatchObject({ priority: 'description', maxNewTokens: 4 });
    expect(run.calls[3]!.options).toMatchObject({ priority: 'description', maxNewTokens: 256 });
  });

  test('is told in pieces to who wants them', async () => {
    const generate = () => ({
      async *[Symbol.asyncIterator]() {
        yield 'A red ';
        yield 'cup.';
      },
      collect: async () => fakeAnswer('A red cup.'),
    });
    const run = await start({}, { info, generate } as never);
    const pieces: string[] = [];
    const result = await run.call('describe', {}, (text) => pieces.push(text));
    expect(pieces).toEqual(['A red ', 'cup.']);
    expect(result.answer.text).toBe('A red cup.');
  });
});

describe('locate', () => {
  test('finds each name, says which it did not, and names objects as they were asked for', async () => {
    const asked: string[] = [];
    const ask = async (_frame: Frame, question: string): Promise<Answer> => {
      asked.push(question);
      const box = { x1: 0, y1: 0, x2: 0.5, y2: 0.5 };
      const object = { label: 'the cup', box, boxPixels: [0, 0, 32, 24], score: 0.9, source: 'text' } as const;
      return { ...fakeAnswer('{}'), objects: question.includes('cup') ? [object] : [] };
    };
    const run = await start({}, { info, ask } as never);
    const result = await run.call('locate', { objects: ['red cup', '$& dog', 'red cup'] });
    expect(asked).toEqual(['Where is the red cup?', 'Where is the $& dog?']);
    expect(result).toMatchObject({ notFound: ['$& dog'], objects: [{ label: 'red cup', boxPixels: [0, 0, 32, 24] }] });
    expect(result.usage).toMatchObject({ promptTokens: 20, images: 2 });
  });

  test('verifies as the request says, or else the configuration; what was refuted counts as not found', async () => {
    const asked: unknown[] = [];
    const ask = async (_frame: Frame, question: string, options: { verify?: boolean }): Promise<Answer> => {
      asked.push(options.verify);
      const verified = options.verify === true ? !question.includes('dog') : undefined;
      const box = { x1: 0, y1: 0, x2: 0.5, y2: 0.5 };
      const object = {
        label: 'x',
        box,
        boxPixels: [0, 0, 8, 4] as const,
        score: 0.5,
        source: 'text' as const,
        verified,
      };
      return { ...fakeAnswer('found'), objects: [object as never] };
    };
    const run = await start({ ask: { verify: true } }, { info, ask } as never);
    expect((await run.call('locate', { objects: ['cup', 'dog'] })).notFound).toEqual(['dog']);
    expect((await run.call('locate', { objects: ['dog'], verify: false })).notFound).toEqual([]);
    expect(asked).toEqual([true, true, false]);
  });

  test('is refused for a model that writes no boxes', async () => {
    const run = await start();
    await expect(run.call('locate', { objects: ['cup'] })).rejects.toMatchObject({ code: 'ERR_REQUEST_UNSUPPORTED' });
  });
});

describe('snapshot', () => {
  test('is given only where the configuration allows it', async () => {
    const run = await start();
    await expect(run.call('snapshot', {})).rejects.toMatchObject({
      code: 'ERR_REQUEST_UNSUPPORTED',
      message: expect.stringContaining('snapshots: true'),
    });
  });

  test('is a JPEG of the frame, smaller when asked for', async () => {
    const run = await start({ snapshots: true });
    const { jpeg, width, height, frame } = await run.call('snapshot', {});
    expect([width, height, frame.id]).toEqual([64, 48, 'cam-1']);
    expect(await decodeImage(jpeg)).toMatchObject({ width: 64, height: 48 });
    const small = await run.call('snapshot', { maxWidth: 32, quality: 20 });
    expect(await decodeImage(small.jpeg)).toMatchObject({ width: small.width, height: small.height });
    expect([small.width, small.height]).toEqual([32, 24]);
    expect((await run.call('snapshot', { maxWidth: 1_000 })).width).toBe(64);
  });
});

describe('a picture', () => {
  test('is not taken from a camera whose privacy is on, nor one from before', async () => {
    const run = await start({ snapshots: true });
    await run.call('describe', { prompt: '?' });
    await run.context.hub.idle();
    expect((await run.call('snapshot', { frameId: 'cam-1' })).frame.id).toBe('cam-1');
    run.setPrivate(true);
    for (const frameId of [undefined, 'cam-1']) {
      await expect(run.call('snapshot', { frameId })).rejects.toMatchObject({
        code: 'ERR_CAPTURE_REFUSED',
        message: expect.stringContaining('privacy'),
      });
    }
    run.setPrivate(false);
    await expect(run.call('snapshot', { frameId: 'cam-1' })).rejects.toMatchObject({ code: 'ERR_REQUEST_INVALID' });
  });

  test('of a camera that is down, or without a model, is refused with the reason', async () => {
    const lost = await start({}, new SdkError('ERR_ENGINE_DIED', 'being loaded'));
    await expect(lost.call('describe', {})).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
    lost.context.feeds[0]!.latest = new SdkError('ERR_CAPTURE_LOST', 'unplugged');
    await expect(lost.call('describe', {})).rejects.toMatchObject({ code: 'ERR_CAPTURE_LOST' });
  });
});
