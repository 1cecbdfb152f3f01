/** What engines in the addon do alike, with a backend that only waits. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { CancelFlag } from '#sdk/engine/shared/cancel-flag.js';
import { NativeEngine, type NativeImage } from '#sdk/engine/shared/native-engine.js';
import { openVisionTower } from '#sdk/engine/vision/vision-tower.js';
import { ARRANGEMENTS, syntheticImage } from '../../../support/tiny-images.js';
import { GOLDEN, temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const checkpoint = await openCheckpoint(join(GOLDEN, 'tiny-a'));
const image = syntheticImage(ARRANGEMENTS.single, 1);

class WaitingBackend {
  readonly encodings: { readonly cancel: CancelFlag; readonly finish: (image: NativeImage<string>) => void }[] = [];
  readonly released: string[] = [];

  encodeImage(_: unknown, __: unknown, cancel: CancelFlag): Promise<NativeImage<string>> {
    return new Promise((finish) => this.encodings.push({ cancel, finish }));
  }

  get cancelled(): readonly number[] {
    return this.encodings.map(({ cancel }) => cancel.shared[0]!);
  }

  createSequence = () => 'sequence';
  forward = () => Promise.reject(new Error('not here'));
  release = (handle: string) => void this.released.push(handle);
  [Symbol.asyncDispose] = async () => {};
}

function waitingEngine() {
  const backend = new WaitingBackend();
  const info = {
    backend: 'cpu',
    device: 'none',
    numerics: 'meta',
    weights: 'float',
    vision: 'float',
    contextLength: 64,
    vocabularySize: 512,
    capabilities: {
      batchedSlices: 1,
      sliceTokens: 256,
      closeCallMargin: 0,
      prefixReuse: true,
      attentionTaps: false,
      keyValueBytesPerToken: 1,
      branchTokens: 0,
      reservesContext: false,
    },
  } as const;
  return { backend, engine: new NativeEngine(info, checkpoint.model.architecture, backend) };
}

test('tells the backend which images nobody waits for any more, and frees what comes of them all the same', async () => {
  const { backend, engine } = waitingEngine();
  const leaving = new AbortController();
  const kept = engine.encodeImage(image);
  const left = engine.encodeImage(image, { signal: leaving.signal });
  expect(backend.cancelled).toEqual([0, 0]);
  leaving.abort(new Error('no matter'));
  await expect(left).rejects.toThrow('no matter');
  expect(backend.cancelled).toEqual([0, 1]);

  backend.encodings[1]!.finish({ handle: 'too late', sizeBytes: 1 });
  backend.encodings[0]!.finish({ handle: 'wanted', sizeBytes: 1 });
  await kept;
  await expect.poll(() => backend.released).toEqual(['too late']);

  const open = engine.encodeImage(image);
  await Promise.all([expect(open).rejects.toMatchObject({ code: 'ERR_DISPOSED' }), engine[Symbol.asyncDispose]()]);
  expect(backend.cancelled).toEqual([0, 1, 1]);
});

test('gives errors of the addon their code when it begins a sequence', async () => {
  const { backend, engine } = waitingEngine();
  const full = Object.assign(new Error('no memory for the sequence'), { code: 'ERR_ENGINE_OUT_OF_MEMORY' });
  backend.createSequence = () => {
    throw full;
  };
  const expected = { code: 'ERR_ENGINE_OUT_OF_MEMORY', message: 'No memory for the sequence.', cause: full };
  expect(() => engine.createSequence()).toThrow(expect.objectContaining(expected));
  expect(() => engine.createSequence()).toThrow(SdkError);
  for (const unforeseen of [new TypeError('not a handle'), Object.assign(new Error('odd'), { code: 'E_ODD' })]) {
    backend.createSequence = () => {
      throw unforeseen;
    };
    const internal = { code: 'ERR_INTERNAL', retryable: false, cause: unforeseen };
    expect(() => engine.createSequence()).toThrow(expect.objectContaining(internal));
  }
  await engine[Symbol.asyncDispose]();
});

test('takes many calls at once without a warning of the runtime', async () => {
  const { backend, engine } = waitingEngine();
  const warnings: string[] = [];
  const onWarning = ({ message }: Error) => void warnings.push(message);
  process.on('warning', onWarning);
  const calls = Array.from({ length: 40 }, () => engine.encodeImage(image));
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (const { finish } of backend.encodings) finish({ handle: 'one', sizeBytes: 1 });
  await Promise.all(calls);
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

test('a vision tower does not begin what was cancelled while it waited', async () => {
  const options = { numerics: 'meta', contextLength: 64, threads: 1, cacheDirectory: temporaryFolder() } as const;
  await using tower = await openVisionTower(checkpoint, options);
  const cancel = new CancelFlag();
  const [first, second, third] = [tower.encode(image), tower.encode(image, cancel), tower.encode(image)];
  cancel.set();
  await expect(second).rejects.toThrow('cancelled');
  expect(await third).toEqual(await first);
});
