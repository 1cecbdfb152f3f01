import { describe, expect, test } from 'vitest';
import { createRandom } from '#sdk/core/random.js';
import type { BoxConvention } from '#sdk/grounding/box-reader.js';
import { createTextGrounder } from '#sdk/grounding/text-grounder.js';

const convention: BoxConvention = {
  format: 'json',
  labelKey: 'label',
  boxKey: 'box',
  order: 'xyxy',
  scale: 100,
  relativeTo: 'longer-side',
  bin: 'centre',
};
const imageOf = (width: number, height: number) => ({
  width,
  height,
  format: 'rgb8' as const,
  data: new Uint8Array(0),
});
const ground = (text: string, { width = 100, height = 100, change = {} as Partial<BoxConvention> } = {}) =>
  createTextGrounder({ ...convention, ...change }).ground({ text, image: imageOf(width, height), tokens: [] });

const near = (...edges: number[]) => {
  const [x1, y1, x2, y2] = edges.map((edge) => expect.closeTo(edge, 12));
  return { x1, y1, x2, y2 };
};

describe('what is read', () => {
  test.each([
    ['one object', '{"label":"red cup","box":[10,20,30,40]}', ['red cup']],
    ['spaces and line breaks', '{ "label" : "cup",\n "box" : [10, 20, 30, 40] }', ['cup']],
    ['a list', '[{"label":"cup","box":[1,2,3,4]},{"label":"box","box":[5,6,7,8]}]', ['cup', 'box']],
    ['an object in a sentence', 'It is here: {"label":"cup","box":[1,2,3,4]}, on the left.', ['cup']],
    ['a list inside an object', '{"objects":[{"label":"cup","box":[1,2,3,4]}],"count":1}', ['cup']],
    ['an absent thing', '{"label":"cup","box":null}', []],
    ['absent and present things', '[{"label":"cup","box":null},{"label":"box","box":[5,6,7,8]}]', ['box']],
    ['whole objects of a list cut off', '[{"label":"cup","box":[1,2,3,4]},{"label":"box","box":[5,6', ['cup']],
    ['a garbled object before a whole one', '{"label":"cup","box":[1,2,,4]} {"label":"box","box":[5,6,7,8]}', ['box']],
    ['a brace in a label', '{"label":"{odd}","box":[1,2,3,4]}', ['{odd}']],
    ['repetitions once', '{"label":"cup","box":[1,2,3,4]} '.repeat(50), ['cup']],
    ['same label twice', '[{"label":"cup","box":[1,2,3,4]},{"label":"cup","box":[5,6,7,8]}]', ['cup', 'cup']],
  ])('%s', async (_, text, labels) => {
    expect((await ground(text)).map(({ label }) => label)).toEqual(labels);
  });

  test.each([
    ['', 'prose without boxes', '{', '}', '{}', '[]', 'null', '{"label":"cup"}', '{"box":[1,2,3,4]}', '"{"'],
    ['{"label":"cup","box":[1,2,3]}', '{"label":"cup","box":[1,2,3,4,5]}', '{"label":"cup","box":["1","2","3","4"]}'],
    ['{"label":"cup","box":[1,2,3,4]', '{"label":"cup","box":[1,2', '{"label":"cu', '{"label":7,"box":[1,2,3,4]}'],
    ['{"label":"","box":[1,2,3,4]}', '{"label":"cup","box":{"x":1}}', '{"label":"cup","box":[1e999,2,3,4]}'],
    ['{"label":"cup","box":[30,2,3,4]}', '{"label":"cup","box":[200,2,300,4]}', '{"label":"cup","box":[-9,2,-3,4]}'],
    [`{"label":"${'x'.repeat(300)}","box":[1,2,3,4]}`, '{'.repeat(20_000), '{"__proto__":{"label":"a","box":1}}'],
  ])('garbled, cut off or outside: nothing, and no throw', async (...texts) => {
    for (const text of texts) expect(await ground(text)).toEqual([]);
  });

  test('never throws, whatever is done to an answer, and every box lies in the frame', async () => {
    const random = createRandom(7);
    const pieces = [
      '{',
      '}',
      '[',
      ']',
      '"',
      ',',
      ':',
      '\\',
      'null',
      '-1',
      '1e9',
      'label',
      'box',
      '{"label":"a","box":[1,2,3,4]}',
    ];
    const original =
      '[{"label":"red cup","box":[10,20,30,40]},{"label":"box","box":null},{"label":"x","box":[0,0,99,99]}]';
    let objects = 0;
    for (let round = 0; round < 2000; round++) {
      let text = original;
      for (let edits = Math.floor(random() * 4); edits >= 0; edits--) {
        const at = Math.floor(random() * text.length);
        const removed = Math.floor(random() * 6);
        text = text.slice(0, at) + pieces[Math.floor(random() * pieces.length)]! + text.slice(at + removed);
      }
      for (const { box, boxPixels } of await ground(text, { width: 64, height: 48 })) {
        objects++;
        expect(0 <= box.x1 && box.x1 < box.x2 && box.x2 <= 1 && 0 <= box.y1 && box.y1 < box.y2 && box.y2 <= 1).toBe(
          true,
        );
        const [x1, y1, x2, y2] = boxPixels;
        expect(0 <= x1 && x1 < x2 && x2 <= 64 && 0 <= y1 && y1 < y2 && y2 <= 48).toBe(true);
      }
    }
    expect(objects).toBeGreaterThan(1000);
  });

  test('stops at a bounded number of objects', async () => {
    const many = Array.from({ length: 1000 }, (_, i) => `{"label":"c${i}","box":[1,2,3,4]}`).join(',');
    expect(await ground(many)).toHaveLength(256);
  });

  test('follows the keys of the convention', async () => {
    const change = { labelKey: 'name', boxKey: 'bbox' };
    expect(await ground('{"name":"cup","bbox":[1,2,3,4]}', { change })).toMatchObject([
      { label: 'cup', source: 'text' },
    ]);
    expect(await ground('{"label":"cup","box":[1,2,3,4]}', { change })).toEqual([]);
  });

  test('is empty for a model without a convention', async () => {
    const grounder = createTextGrounder(undefined);
    expect(
      await grounder.ground({ text: '{"label":"cup","box":[1,2,3,4]}', image: imageOf(9, 9), tokens: [] }),
    ).toEqual([]);
  });
});

describe('where it lies', () => {
  const text = '{"label":"cup","box":[10,20,30,40]}';

  test('longer-side, centre: fractions of the longer side in both directions', async () => {
    const [wide] = await ground(text, { width: 1280, height: 640 });
    expect(wide!.box).toEqual(near(0.105, 0.41, 0.305, 0.81));
    expect(wide!.boxPixels).toEqual([134, 262, 390, 518]);
    const [tall] = await ground(text, { width: 500, height: 1000 });
    expect(tall!.box).toEqual(near(0.21, 0.205, 0.61, 0.405));
    expect(tall!.boxPixels).toEqual([105, 205, 305, 405]);
  });

  test('longer-side, edge', async () => {
    const [object] = await ground(text, { width: 1000, height: 500, change: { bin: 'edge' } });
    expect(object!.box).toEqual(near(0.1, 0.4, 0.3, 0.8));
  });

  test('axis: x of the width, y of the height', async () => {
    const [object] = await ground('{"label":"cup","box":[100,200,300,999]}', {
      width: 640,
      height: 480,
      change: { relativeTo: 'axis', scale: 1000 },
    });
    expect(object!.box.x1).toBeCloseTo(0.1005, 12);
    expect(object!.box.y2).toBeCloseTo(0.9995, 12);
    expect(object!.boxPixels).toEqual([64, 96, 192, 480]);
  });

  test('is clamped to the frame', async () => {
    const [object] = await ground('{"label":"cup","box":[-5,40,60,99]}', { width: 200, height: 100 });
    expect(object!.box).toEqual(near(0, 0.81, 0.605, 1));
    expect(object!.boxPixels).toEqual([0, 81, 121, 100]);
  });

  test('both edges in one bin: one bin wide', async () => {
    const [object] = await ground('{"label":"pole","box":[50,10,50,90]}');
    expect(object!.box.x2 - object!.box.x1).toBeCloseTo(0.01, 12);
  });
});

describe('score', () => {
  test('is the geometric mean of the probabilities of the tokens that wrote the object', async () => {
    const text = 'See {"label":"a","box":[1,2,3,4]} and {"label":"b","box":[5,6,7,8]}';
    const split = text.indexOf(' and');
    const tokens = [
      { start: 0, end: 4, logProbability: Math.log(0.001) }, // before: not part of it
      { start: 4, end: 20, logProbability: Math.log(0.5) },
      { start: 20, end: split, logProbability: Math.log(0.125) },
      { start: split, end: split + 5, logProbability: Math.log(0.001) },
      { start: split + 5, end: text.length, logProbability: Math.log(0.9) },
    ];
    const objects = await createTextGrounder(convention).ground({ text, image: imageOf(10, 10), tokens });
    expect(objects.map(({ score }) => score)).toEqual([expect.closeTo(0.25, 12), expect.closeTo(0.9, 12)]);
  });

  test('is 1 without probabilities', async () => {
    expect((await ground('{"label":"cup","box":[1,2,3,4]}'))[0]!.score).toBe(1);
  });
});
