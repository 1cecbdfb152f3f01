import { describe, expect, test } from 'vitest';
import { questionSchema, type Scene, sceneSchema } from '#calibration/evaluate/scenes.js';
import { MEASURES, type ScoredAnswer, Scores } from '#calibration/evaluate/scores.js';

const scene: Scene = sceneSchema.parse({
  image: '00000.png',
  objects: [
    { label: 'red cup', colour: 'red', class: 'cup', box: [0, 0, 0.5, 0.5] },
    { label: 'blue box', colour: 'blue', class: 'box', box: [0.5, 0.5, 1, 1], heldOut: true },
  ],
  questions: [],
});

const object = (label: string, x1: number, y1: number, x2: number, y2: number) => ({
  label,
  box: { x1, y1, x2, y2 },
  boxPixels: [0, 0, 1, 1] as const,
  score: 1,
  source: 'text' as const,
});

function score(...answers: [Record<string, unknown>, Partial<ScoredAnswer>][]) {
  const scores = new Scores();
  for (const [question, answer] of answers) {
    const parsed = questionSchema.parse({ question: '?', reference: '', ...question });
    scores.add(scene, parsed, { text: '', objects: [], ...answer });
  }
  return scores;
}

describe('Scores', () => {
  test.each([
    ['exists', true, 'Yes.', 'No.'],
    ['exists', false, 'no', 'Nothing.'],
    ['lampOn', false, 'Off.', 'On.'],
    ['colour', 'red', 'Red.', 'Orange.'],
    ['count', 3, '3', '13'],
    ['countOf', 0, '0', ''],
    ['leftRight', 'red cup', 'A red cup.', 'A red box.'],
    ['leftRight', null, 'Nothing.', 'A red cup.'],
    ['signExact', 'K7', 'K7', 'k7'],
  ])('%s: the answer %o is %o and not %o', (task, answer, right, wrong) => {
    const scores = score([{ task, answer }, { text: right }], [{ task, answer }, { text: wrong }]);
    expect(scores.table()[task as 'exists']).toBe(0.5);
    expect(scores.counts()[task as 'exists']).toBe(2);
  });

  test('absentSaid wants a box that is null', () => {
    const task = { task: 'absentSaid', label: 'cup' };
    const texts = ['{"label":"cup","box":null}', '{"label":"cup","box":[1,2,3,4]}', 'There is no cup.', 'null'];
    expect(score(...texts.map((text): [typeof task, { text: string }] => [task, { text }])).table().absentSaid).toBe(
      0.25,
    );
  });

  test('locate measures the first box', () => {
    const task = { task: 'locate', label: 'cup', relativeBox: [0, 0, 0.5, 0.5] };
    const table = score(
      [task, { objects: [object('cup', 0, 0, 0.5, 0.5)] }],
      [task, { objects: [object('cup', 0, 0, 0.5, 0.3)] }],
      [task, { objects: [object('cup', 0, 0, 0.5, 0.1)] }],
      [task, {}],
    ).table();
    expect(table['locate@0.5']).toBe(0.5);
    expect(table.locateMeanIoU).toBeCloseTo((1 + 0.6 + 0.2 + 0) / 4, 12);
  });

  test('list wants label and place, each thing once', () => {
    const objects = [
      object('red cup', 0, 0, 0.5, 0.5),
      object('red cup', 0, 0, 0.5, 0.5),
      object('blue ball', 0.5, 0.5, 1, 1),
    ];
    expect(score([{ task: 'list' }, { objects }]).table()['listF1@0.5']).toBeCloseTo((2 * 1) / (3 + 2), 12);
    expect(score([{ task: 'list' }, {}]).table()['listF1@0.5']).toBe(0);
  });

  test('caption counts colour and class pairs, confusions and pairs never trained', () => {
    const scores = score([{ task: 'caption' }, { text: 'A red box on the left and a blue box at the top right.' }]);
    expect(scores.table().captionF1).toBe(0.5);
    expect(scores.confusion()).toEqual([{ there: 'cup', said: 'box', times: 1 }]);
    expect(scores.heldOut()).toEqual({ named: 1, there: 1 });
  });

  test('a measure never asked is no number', () => {
    const { exists, locateMeanIoU } = new Scores().table();
    expect([exists, locateMeanIoU]).toEqual([Number.NaN, Number.NaN]);
    expect(Object.keys(new Scores().table())).toEqual([...MEASURES]);
  });
});
