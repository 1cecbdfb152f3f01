import { readdirSync } from 'node:fs';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { encodeJpeg, type Likelihoods, type MatchingModel, SdkError } from 'scenebus';
import { beforeAll, describe, expect, test } from 'vitest';
import { type FrameFinder, findFrames } from '#device/journal/find-frames.js';
import { Journal } from '#device/journal/journal.js';
import type { JournalStore } from '#device/journal/store.js';
import { fakeFrame } from '../../../support/device-fakes.js';
import { checkpoint, type DescribedFrame, writeDescribedFrames } from '../../../support/found-journal.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

/** Pictures of one level of grey; the model finds the text likelier the brighter they are. */
const jpegs = new Map<number, Uint8Array>();
beforeAll(async () => {
  for (const level of [40, 120, 200]) jpegs.set(level, await encodeJpeg(fakeFrame(1, level)));
});

function brightModel() {
  const seen: (number | undefined)[] = [];
  const model: MatchingModel = {
    likelihood: async (image, texts) => {
      seen.push(image?.data[0]);
      const logProbability = image === undefined ? -10 : -10 + image.data[0]! / 10;
      return { texts: texts.map((text) => ({ text, logProbability, tokens: 2 })) } as unknown as Likelihoods;
    },
  };
  return { model, seen };
}

const finderOf = (store: JournalStore): FrameFinder => ({
  findScenes: async (search) => store.findScenes(search),
  frame: async (id, { run } = {}) => store.frame(id, run),
});
const idsOf = ({ frames }: { frames: readonly { frame: { id: string } }[] }) => frames.map(({ frame }) => frame.id);
const newFile = async () => join(await makeTemporaryFolder('scenebus-find-'), 'journal.db');
const open = async (frames: readonly DescribedFrame[]) => writeDescribedFrames(await newFile(), frames);

describe('finding frames', () => {
  test('puts the candidates of the words in the order of the model, whatever the words say', async () => {
    using store = await open([
      { id: 'dark', description: 'A red cup near the book.', jpeg: jpegs.get(40)! },
      { id: 'bright', description: 'A cup.', jpeg: jpegs.get(200)! },
      { id: 'grey', description: 'A red ball.', jpeg: jpegs.get(120)! },
    ]);
    const { model, seen } = brightModel();
    const found = await findFrames(finderOf(store), { text: 'a red cup near the book' }, { model });
    expect(idsOf(found)).toEqual(['bright', 'grey', 'dark']);
    expect(found).toMatchObject({ rankedBy: 'likelihood', looked: 3, notices: [] });
    // log p with the picture, less that without it, for each of two tokens.
    expect(found.frames[0]!.score).toBeCloseTo(10, 0);
    expect(found.frames[0]).toMatchObject({
      camera: 'cam',
      run: 'run',
      description: 'A cup.',
      frame: { id: 'bright', capturedAtMs: 2000, width: 384, height: 384 },
      thumbnail: '/api/frames/bright?run=run&camera=cam&size=thumbnail',
    });
    expect(seen).toHaveLength(4);
    const words = await findFrames(finderOf(store), { text: 'a red cup near the book' }, { model: undefined });
    expect(idsOf(words)[0]).toBe('dark');
    expect(words).toMatchObject({ rankedBy: 'words', looked: 0, notices: [expect.stringMatching(/no model/i)] });
  });

  test('looks at the newest others where words find few, and at no more than it may', async () => {
    const frames = Array.from({ length: 9 }, (_, i) => ({
      id: `f-${i}`,
      description: i === 2 ? 'A red cup.' : 'A table.',
      jpeg: jpegs.get(i === 7 ? 200 : 40)!,
    }));
    using store = await open(frames);
    const { model, seen } = brightModel();
    const found = await findFrames(finderOf(store), { text: 'cup', candidates: 3, limit: 2 }, { model });
    expect(found.looked).toBe(3);
    expect(seen).toHaveLength(4);
    // The one with the word, and the two newest, of which one is bright.
    expect(idsOf(found)[0]).toBe('f-7');
    expect(found.frames).toHaveLength(2);
  });

  test('keeps to a camera and a time, and finds nothing of hidden cameras', async () => {
    using store = await open([
      { id: 'a', description: 'A cup.', camera: 'door', jpeg: jpegs.get(40)! },
      { id: 'b', description: 'A cup.', camera: 'desk', jpeg: jpegs.get(40)! },
      { id: 'c', description: 'A cup.', camera: 'desk', jpeg: jpegs.get(40)! },
    ]);
    const find = async (request: object, isHidden?: (camera: string) => boolean) =>
      idsOf(
        await findFrames(finderOf(store), { text: 'cup', ...request }, { model: brightModel().model, isHidden }),
      ).sort();
    expect(await find({ camera: 'desk' })).toEqual(['b', 'c']);
    expect(await find({ from: 2000, to: 3000 })).toEqual(['b']);
    expect(await find({}, (camera) => camera === 'desk')).toEqual(['a']);
    expect(await find({ camera: 'attic' })).toEqual([]);
  });

  test('says that pictures were not kept, are gone or are damaged, and goes on with the others', async () => {
    using nothing = await open([{ id: 'a', description: 'A red cup.' }]);
    const words = await findFrames(finderOf(nothing), { text: 'a red cup' }, { model: brightModel().model });
    expect(words).toMatchObject({
      rankedBy: 'words',
      frames: [{ frame: { id: 'a' }, thumbnail: null }],
      notices: [expect.stringMatching(/No picture.*journal\.frames: true/)],
    });
    using some = await open([
      { id: 'gone', description: 'A red cup.' },
      { id: 'broken', description: 'A red cup.', jpeg: jpegs.get(40)!.slice(0, 30) },
      { id: 'whole', description: 'A red cup.', jpeg: jpegs.get(40)! },
    ]);
    const found = await findFrames(finderOf(some), { text: 'a red cup' }, { model: brightModel().model });
    expect(idsOf(found)).toEqual(['whole']);
    expect(found.notices).toEqual([
      expect.stringMatching(/^1 descriptions .*no picture any more/),
      expect.stringMatching(/^1 pictures could not be read.*broken/),
    ]);
  });

  test.each([
    [{ text: '…' }, /words to look for/],
    [{ text: 'cup', limit: 0 }, /1 to 50 for limit but received 0/],
    [{ text: 'cup', candidates: 257 }, /1 to 256 for candidates but received 257/],
  ])('refuses %j', async (request, message) => {
    using store = await open([]);
    const refused = findFrames(finderOf(store), request, { model: undefined });
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
      message: expect.stringMatching(message),
    });
  });

  test('goes by words where a model tells no likelihoods', async () => {
    using store = await open([{ id: 'a', description: 'A cup.', jpeg: jpegs.get(40)! }]);
    const likelihood = async () => {
      throw new SdkError('ERR_REQUEST_UNSUPPORTED', 'It is remote.');
    };
    expect(await findFrames(finderOf(store), { text: 'cup' }, { model: { likelihood } })).toMatchObject({
      ...{ rankedBy: 'words', frames: [{ frame: { id: 'a' } }] },
      notices: ['It is remote. The order is by the words of descriptions alone.'],
    });
  });

  test('rejects with what the model rejects with', async () => {
    using store = await open([{ id: 'a', description: 'A cup.', jpeg: jpegs.get(40)! }]);
    const busy = async () => {
      throw new SdkError('ERR_BUSY', 'Later.');
    };
    await expect(findFrames(finderOf(store), { text: 'cup' }, { model: { likelihood: busy } })).rejects.toMatchObject({
      code: 'ERR_BUSY',
    });
  });
});

describe('a journal that was cut or damaged and is only read', () => {
  async function journalFile(): Promise<string> {
    const file = await newFile();
    const frames = Array.from({ length: 300 }, (_, i) => ({
      id: `f-${i}`,
      description: `A red cup, number ${i}, near a book on the table.`,
      jpeg: jpegs.get(40)!,
    }));
    writeDescribedFrames(file, frames)[Symbol.dispose]();
    checkpoint(file);
    return file;
  }

  const search = async (file: string) => {
    await using journal = await Journal.openReadOnly(file);
    return await journal.findScenes({ text: 'red cup', limit: 100 });
  };

  test('is whole otherwise', async () => {
    expect(await search(await journalFile())).toHaveLength(100);
  });

  test.each([
    ['cut in the middle', async (file: string) => await truncate(file, Math.floor((await stat(file)).size / 2))],
    ['cut behind its first page', async (file: string) => await truncate(file, 4096)],
    ['cut within its first page', async (file: string) => await truncate(file, 50)],
    [
      'overwritten',
      async (file: string) => {
        const bytes = await readFile(file);
        bytes.fill(0x5a, 4096);
        await writeFile(file, bytes);
      },
    ],
  ])('is refused and left as it is: %s', async (_, harm) => {
    const file = await journalFile();
    await harm(file);
    const { size } = await stat(file);
    await expect(search(file)).rejects.toMatchObject({
      code: 'ERR_JOURNAL_UNAVAILABLE',
      message: expect.stringMatching(/damaged or was cut short .*Copy it again/),
      details: { file },
    });
    // A service sets a damaged journal aside; whoever only reads it does not.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await stat(file)).size).toBe(size);
    expect(readdirSync(dirname(file)).filter((name) => name.includes('damaged'))).toEqual([]);
  });
});
