import { describe, expect, it } from 'vitest';
import { isWithin } from '#device/features/watches/schedule.js';

/** 15 July 2026 is a Wednesday. */
const at = (day: number, hour: number, minute = 0) => new Date(2026, 6, day, hour, minute);

describe('the hours of a watch', () => {
  it('are always without a schedule', () => {
    expect(isWithin(undefined, at(15, 3))).toBe(true);
  });

  it('begin with their first minute and end before their last', () => {
    const schedule = [{ from: '08:30', to: '17:00' }];
    expect([at(15, 8, 29), at(15, 8, 30), at(15, 16, 59), at(15, 17)].map((each) => isWithin(schedule, each))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  it('reach into the day after, whose name does not matter', () => {
    const night = [{ days: ['wed' as const], from: '22:00', to: '06:00' }];
    expect([at(15, 5), at(15, 23), at(16, 5, 59), at(16, 6), at(16, 23)].map((each) => isWithin(night, each))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
    const saturday = [{ days: ['sat' as const], from: '20:00', to: '02:00' }];
    expect(isWithin(saturday, at(19, 1))).toBe(true); // Sunday
  });

  it('add up, and are a whole day where both times are the same', () => {
    const hours = [
      { from: '06:00', to: '07:00' },
      { from: '20:00', to: '21:00' },
    ];
    expect([at(15, 6), at(15, 12), at(15, 20)].map((each) => isWithin(hours, each))).toEqual([true, false, true]);
    expect(isWithin([{ days: ['wed'], from: '00:00', to: '00:00' }], at(15, 13))).toBe(true);
    expect(isWithin([{ days: ['wed'], from: '00:00', to: '00:00' }], at(16, 13))).toBe(false);
  });
});
