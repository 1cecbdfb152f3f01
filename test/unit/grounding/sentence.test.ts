import { describe, expect, test } from 'vitest';
import type { GroundedObject } from '#sdk/core/types.js';
import { sentenceOf } from '#sdk/grounding/sentence.js';

const convention = { labelKey: 'label', boxKey: 'box' };

function object(label: string, x: number, y: number): GroundedObject {
  const box = { x1: x - 0.05, y1: y - 0.05, x2: x + 0.05, y2: y + 0.05 };
  return { label, box, boxPixels: [0, 0, 1, 1], score: 1, source: 'text' };
}

const written = (...labels: string[]) => labels.map((label) => ({ label, box: [1, 2, 3, 4] }));

describe('a sentence', () => {
  test.each([
    [0.1, 0.5, 'on the left'],
    [0.5, 0.5, 'in the middle'],
    [0.9, 0.5, 'on the right'],
    [0.1, 0.1, 'at the top left'],
    [0.5, 0.9, 'at the bottom'],
    [0.9, 0.9, 'at the bottom right'],
  ])('says where one thing is: %d, %d', (x, y, place) => {
    const text = JSON.stringify(written('red cup')[0]);
    expect(sentenceOf(text, [object('red cup', x, y)], convention)).toBe(`The red cup is ${place}.`);
  });

  test('says what is not there', () => {
    expect(sentenceOf('{"label":"green apple","box":null}', [], convention)).toBe('There is no green apple.');
    expect(sentenceOf('[]', [], convention)).toBe('There is nothing of the kind.');
  });

  test('lists several things', () => {
    const objects = [object('red cup', 0.1, 0.5), object('orange', 0.5, 0.5), object('blue book', 0.9, 0.5)];
    const text = JSON.stringify(written('red cup', 'orange', 'blue book'));
    expect(sentenceOf(text, objects, convention)).toBe(
      'There is a red cup on the left, an orange in the middle and a blue book on the right.',
    );
  });

  test.each([
    'A red cup.',
    '',
    '{"label":"red cup"',
    '{"answer":1}',
    '[1, 2]',
    '"text"',
    '{"label":3,"box":null}',
    '{"__proto__":{}}',
  ])('is left to the text where that is words, or other JSON: %s', (text) => {
    expect(sentenceOf(text, [], convention)).toBeUndefined();
  });

  test('is not made for a model without a convention', () => {
    expect(sentenceOf('[]', [], undefined)).toBeUndefined();
  });
});
