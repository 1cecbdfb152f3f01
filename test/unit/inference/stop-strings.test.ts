import { describe, expect, test } from 'vitest';
import { StopStrings } from '#sdk/inference/stop-strings.js';

/** Shown text after each piece, then what the end adds. */
function run(stops: string[], pieces: string[]): { shown: string[]; stopped: boolean } {
  const watcher = new StopStrings(stops);
  const shown: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = watcher.push(piece);
    shown.push(text);
    if (stopped) return { shown, stopped };
  }
  return { shown: [...shown, watcher.flush()], stopped: false };
}

describe('StopStrings', () => {
  test('ends before the stop string, wherever pieces are cut', () => {
    const text = 'one two END three';
    for (let cut = 1; cut < text.length; cut++) {
      const { shown, stopped } = run(['END'], [text.slice(0, cut), text.slice(cut)]);
      expect(shown.join('')).toBe('one two ');
      expect(stopped).toBe(true);
    }
    expect(run(['END'], [...text]).shown.join('')).toBe('one two ');
  });

  test('holds back no more than may be a beginning, and gives it when it was none', () => {
    expect(run(['END'], ['a', 'E', 'N', 'x', 'E'])).toEqual({ shown: ['a', '', '', 'ENx', '', 'E'], stopped: false });
    expect(run(['aab'], ['a', 'a', 'a', 'b'])).toEqual({ shown: ['', '', 'a', ''], stopped: true });
  });

  test('takes the first of several', () => {
    expect(run(['two', 'one'], ['zero one two']).shown).toEqual(['zero ']);
    expect(run(['b', 'abc'], ['xabc']).shown).toEqual(['x']);
  });

  test('lets everything pass without any', () => {
    expect(run([], ['a', 'b'])).toEqual({ shown: ['a', 'b', ''], stopped: false });
  });
});
