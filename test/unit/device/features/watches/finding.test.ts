import type { AnswerType, AnswerValue } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import { Finding, type FindingState } from '#device/features/watches/finding.js';

type Rules = ConstructorParameters<typeof Finding>[0];

function finding(rules: Partial<Rules> = {}, state?: FindingState) {
  let nowMs = 0;
  let events = 0;
  const made = new Finding(
    { answerType: 'yes-no', ...rules },
    { monotonicMs: () => nowMs, wallMs: () => 1_000_000 + nowMs, createEventId: () => `event-${++events}`, state },
  );
  return {
    made,
    advance: (ms: number) => {
      nowMs += ms;
    },
    /** `new true`, `end false`, `- false` for a state without an event, undefined for nothing. */
    take: (value: AnswerValue, probability: number | null = 0.9) => {
      const change = made.take({ value, probability });
      return change && `${change.event?.type ?? '-'} ${change.value}`;
    },
  };
}

const take = (type: AnswerType, values: readonly AnswerValue[]) => {
  const { take } = finding({ answerType: type });
  return values.map((value) => take(value));
};

describe('a finding', () => {
  test('begins with a yes, ends with a no, and is silent while nothing changes', () => {
    expect(take('yes-no', [false, false, true, true, false])).toEqual([
      '- false',
      undefined,
      'new true',
      undefined,
      'end false',
    ]);
    expect(take('number', [0, 2, 2, 3, 0])).toEqual(['- 0', 'new 2', undefined, 'update 3', 'end 0']);
    expect(take('choice', ['red', 'blue'])).toEqual(['new red', 'update blue']);
    expect(take('text', ['', 'A cup.', 'A book.', ''])).toEqual(['- ', 'new A cup.', 'update A book.', 'end ']);
  });

  test('gives an event one id and one start from new to end, and the next one another', () => {
    const { made, advance } = finding({ answerType: 'number' });
    const changes = [1, 2, 0, 1].map((value) => {
      advance(1_000);
      return made.take({ value, probability: 0.9 })?.event;
    });
    expect(changes).toEqual([
      { type: 'new', id: 'event-1', startedAtMs: 1_001_000 },
      { type: 'update', id: 'event-1', startedAtMs: 1_001_000 },
      { type: 'end', id: 'event-1', startedAtMs: 1_001_000 },
      { type: 'new', id: 'event-2', startedAtMs: 1_004_000 },
    ]);
    expect(made.state).toMatchObject({ value: 1, sinceMs: 1_004_000, event: { id: 'event-2' } });
  });

  test('counts a value when n of the last m answers agree, and asks on until then', () => {
    const { take, made } = finding({ agree: { count: 2, of: 3 } });
    expect(take(true)).toBeUndefined();
    expect(made.isUnsettled).toBe(true);
    expect(take(false)).toBeUndefined();
    expect(take(true)).toBe('new true'); // true, false, true
    expect(made.isUnsettled).toBe(false);
    expect(take(false)).toBe('end false'); // false, true, false
    expect(take(true)).toBe('new true'); // true, false, true
    expect(take(true)).toBeUndefined();
    expect(take(false)).toBeUndefined(); // one of three
    expect(made.isUnsettled).toBe(true);
    expect(take(true)).toBeUndefined();
    expect(made.isUnsettled).toBe(false);
  });

  test('takes an unsure answer for none', () => {
    const { take, made } = finding({ minProbability: 0.8 });
    expect(take(true, 0.79)).toBeUndefined();
    expect(made.state.value).toBeNull();
    expect(take(true, 0.8)).toBe('new true');
    expect(take(false, 0.6)).toBeUndefined();
    expect(made.state).toMatchObject({ value: true, probability: 0.8 });
  });

  test('holds back events in its quiet time, and tells what is still so afterwards', () => {
    const { take, advance, made } = finding({ quietSeconds: 10 });
    expect(take(true)).toBe('new true');
    advance(4_000);
    expect(take(false)).toBeUndefined();
    expect(made.isUnsettled).toBe(false); // nothing to ask before the quiet time is over
    expect(made.state.value).toBe(true);
    advance(6_000);
    expect(made.isUnsettled).toBe(true);
    expect(take(false)).toBe('end false');
    advance(1_000);
    expect(take(true)).toBeUndefined();
    advance(2_000);
    expect(take(false)).toBeUndefined(); // came and went
    advance(20_000);
    expect(made.isUnsettled).toBe(false);
  });

  test('ends its event when it is closed, and begins anew', () => {
    const { made, take } = finding({ quietSeconds: 60 });
    expect(made.close()).toBeUndefined();
    take(true);
    expect(made.close()).toMatchObject({ value: true, event: { type: 'end', id: 'event-1' } });
    expect(made.close()).toBeUndefined();
    expect(made.state).toMatchObject({ value: null, event: null });
    expect(take(true)).toBe('new true');
  });

  test('goes on after a restart', () => {
    const state = { value: true, probability: 0.9, sinceMs: 5, event: { id: 'before', startedAtMs: 5 } };
    const { take, made } = finding({}, state);
    expect(take(true)).toBeUndefined();
    expect(made.state.event).toEqual({ id: 'before', startedAtMs: 5 });
    expect(made.take({ value: false, probability: 0.9 })?.event).toEqual({ type: 'end', id: 'before', startedAtMs: 5 });
  });
});
