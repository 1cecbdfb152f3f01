import type { Frame, GenerateOptions, GroundedObject, VisionLanguageModel } from 'scenebus';
import type { WatchDefinition } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import { evidenceOf } from '#device/features/watches/evidence.js';
import { imageOf } from '#device/features/watches/region.js';
import { thingIn } from '#device/features/watches/thing.js';
import { fakeAnswer, fakeFrame } from '../../../../support/device-fakes.js';

test.each([
  ['Is there a person at the counter?', 'person'],
  ['Are there any red cups on the table?', 'red cup'],
  ['How many people are waiting?', 'person'],
  ['how many green boxes', 'green box'],
  ['Can you see a forklift?', 'forklift'],
  ['Where is the blue book now?', 'blue book'],
  ['What colour is the lamp?', 'lamp'],
  ['Is the door open?', 'door'],
  ['Is the garage door still open?', 'garage door'],
  ['Does the robot move?', 'robot'],
  ['Is anybody there?', 'person'],
  ['Is there anything on the floor?', undefined],
  ['What does the sign say?', undefined],
  ['Ist die Tür offen?', undefined],
  ['Is there', undefined],
  ['', undefined],
])('%j is about %j', (question, thing) => {
  expect(thingIn(question)).toBe(thing);
});

const cup: GroundedObject = {
  label: 'cup',
  box: { x1: 0.25, y1: 0.25, x2: 0.5, y2: 0.5 },
  boxPixels: [16, 12, 32, 24],
  peak: { x: 0.3, y: 0.4 },
  score: 0.9,
  source: 'attention',
};

/** Answers every question with a cup and a key. */
function modelOf(info: { readonly writesBoxes: boolean; readonly locates: boolean }) {
  const asked: (readonly [string, boolean | undefined, number | undefined])[] = [];
  const prompts = { describe: 'Describe.', list: 'List.', locate: 'Find {label}' };
  const model = {
    info: { ...info, prompts },
    ask: async (_: Frame, question: string, { verify, maxNewTokens }: GenerateOptions) => {
      asked.push([question, verify, maxNewTokens]);
      const objects = [cup, { ...cup, label: 'key' }].map((object) => ({
        ...object,
        ...(verify && { verified: true }),
      }));
      return { ...fakeAnswer(''), objects };
    },
  } as unknown as VisionLanguageModel;
  return { model, asked };
}

describe('evidence', () => {
  const watch: WatchDefinition = { id: 'cup', question: 'Is there a cup?', answerType: 'yes-no' };
  const call = { signal: new AbortController().signal, caller: 'watch/cam' };
  const find = (
    model: VisionLanguageModel,
    verify: boolean,
    more: Partial<WatchDefinition> = {},
    seen = [] as GroundedObject[],
  ) => evidenceOf(model, fakeFrame(1), { ...watch, ...more }, seen, { ...call, verify });

  test('is what the question names of a list, where the model writes boxes', async () => {
    const { model, asked } = modelOf({ writesBoxes: true, locates: true });
    expect((await find(model, false)).map(({ label, verified }) => [label, verified])).toEqual([['cup', undefined]]);
    expect((await find(model, true)).map(({ label, verified }) => [label, verified])).toEqual([['cup', true]]);
    expect(asked.map(([question, verify]) => [question, verify])).toEqual([
      ['List.', false],
      ['List.', true],
    ]);
  });

  test('is looked for by name, where boxes come from attention alone', async () => {
    const { model, asked } = modelOf({ writesBoxes: false, locates: true });
    expect(await find(model, true)).toHaveLength(2);
    expect(await find(model, true, { question: 'Was ist los?' })).toEqual([]);
    expect(asked.map(([question]) => question)).toEqual(['Find cup']);
  });

  test('is nothing where nothing gives boxes', async () => {
    const { model, asked } = modelOf({ writesBoxes: false, locates: false });
    expect(await find(model, true)).toEqual([]);
    expect(asked).toEqual([]);
  });

  test('of an answer in words is what came with it, asked again only to be verified', async () => {
    const { model, asked } = modelOf({ writesBoxes: true, locates: true });
    const inWords = { question: 'Where is the cup?', answerType: 'text' } as const;
    expect(await find(model, false, inWords, [cup])).toEqual([cup]);
    expect(asked).toEqual([]);
    expect((await find(model, true, inWords, [cup])).every(({ verified }) => verified)).toBe(true);
    expect(asked).toEqual([['Where is the cup?', true, 64]]);
  });
});

test('a region gives boxes and peaks as of the frame', () => {
  const frame = fakeFrame(1); // 64 × 48
  const { toFrame } = imageOf(frame, [
    [0.5, 0],
    [1, 0],
    [1, 1],
    [0.5, 1],
  ]);
  expect(toFrame([cup])).toEqual([
    {
      ...cup,
      box: { x1: 0.625, y1: 0.25, x2: 0.75, y2: 0.5 },
      boxPixels: [40, 12, 48, 24],
      peak: { x: expect.closeTo(0.65, 9), y: expect.closeTo(0.4, 9) },
    },
  ]);
});
