import { describe, expect, test } from 'vitest';
import { nearestName, refuseUnknownOptions } from '#sdk/core/option-names.js';

const known = ['maxNewTokens', 'temperature', 'topP', 'seed', 'signal', 'stop'];

describe('refuseUnknownOptions', () => {
  test('takes what is known, and no options at all', () => {
    expect(() => refuseUnknownOptions({ topP: 1, seed: undefined }, known, 'ask')).not.toThrow();
    expect(() => refuseUnknownOptions(undefined, known, 'ask')).not.toThrow();
  });

  test('names the unknown one and the nearest', () => {
    expect(() => refuseUnknownOptions({ max_new_tokens: 5 }, known, 'ask')).toThrow(
      expect.objectContaining({
        code: 'ERR_ARGUMENT_INVALID',
        message: 'Expected options that ask knows but received "max_new_tokens". Did you mean maxNewTokens?',
        details: { option: 'max_new_tokens', nearest: 'maxNewTokens', known },
      }),
    );
  });

  test('lists all where none is near', () => {
    expect(() => refuseUnknownOptions({ constructor: 1 }, known, 'ask')).toThrow('It knows maxNewTokens, temperature');
  });

  test.each([null, 7, [], 'x'])('refuses %o', (value) => {
    expect(() => refuseUnknownOptions(value, known, 'ask')).toThrow('Expected an object with options');
  });
});

test.each([
  ['temprature', 'temperature'],
  ['top_p', 'topP'],
  ['maxTokens', 'maxNewTokens'],
  ['Stop', 'stop'],
  ['response_format', undefined],
])('nearest to %s is %s', (name, expected) => {
  expect(nearestName(name, known)).toBe(expected);
});
