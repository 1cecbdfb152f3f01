/** In a process with a console strangers' bytes reach three decoders; a file of its own, as nothing undoes it. */
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeImage } from '#sdk/image/index.js';
import { startConsole, type TestConsole } from '../../../support/console.js';

const picture = () => sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } });
const OTHERS: Readonly<Record<string, () => Promise<Buffer>>> = {
  GIF: () => picture().gif().toBuffer(),
  TIFF: () => picture().tiff().toBuffer(),
  AVIF: () => picture().avif().toBuffer(),
  SVG: async () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'),
  PPM: async () => Buffer.from('P6 1 1 255 abc'),
  PDF: async () => Buffer.from('%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj trailer<</Root 1 0 R>>'),
};
const OURS: Readonly<Record<string, () => Promise<Buffer>>> = {
  'image/jpeg': () => picture().jpeg().toBuffer(),
  'image/png': () => picture().png().toBuffer(),
  'image/webp': () => picture().webp().toBuffer(),
};

const before = new Map<string, string | undefined>();
let served: TestConsole;

beforeAll(async () => {
  // Decoders that were used before the console started are shut as well.
  for (const name of ['GIF', 'TIFF', 'AVIF']) {
    await decodeImage(await OTHERS[name]!());
    before.set(name, (await sharp(await OTHERS[name]!()).metadata()).format);
  }
  served = await startConsole();
});
afterAll(() => served[Symbol.asyncDispose]());

const send = (type: string, body: Buffer) =>
  served.json('operator', '/api/pictures', {
    method: 'POST',
    headers: { 'content-type': type },
    body: new Uint8Array(body),
  });

test.each(Object.keys(OURS))('a picture of type %s is taken', async (type) => {
  expect(await send(type, await OURS[type]!())).toMatchObject({ status: 200, body: { width: 8, height: 8 } });
});

test.each(Object.keys(OTHERS))('%s is refused by its type, by its bytes, and has no decoder', async (name) => {
  const file = await OTHERS[name]!();
  const named = await send(`image/${name.toLowerCase()}`, file);
  expect(named).toMatchObject({ status: 415 });
  for (const type of Object.keys(OURS))
    expect(await send(type, file)).toMatchObject({ status: 415, body: { error: { code: 'ERR_IMAGE_INVALID' } } });
  await expect(decodeImage(file)).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID' });
  // Even where a check of ours were to miss it.
  await expect(sharp(file).metadata()).rejects.toThrow(/unsupported image format/);
});

test('those that the library reads elsewhere were readable here before', () => {
  expect([...before.values()]).toEqual(['gif', 'tiff', 'heif']);
});
