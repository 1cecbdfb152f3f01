import { describe, expect, test } from 'vitest';
import { isWithin } from '#device/features/schedule.js';

/** A Wednesday and the days after it, local time. */
const at = (time: string, daysLater = 0) => {
  const [hours, minutes] = time.split(':').map(Number);
  return new Date(2026, 10, 25 + daysLater, hours, minutes);
};

describe('a schedule', () => {
  test('left out holds always', () => {
    expect(isWithin(undefined, at('03:00'))).toBe(true);
  });

  test('begins with its first minute and ends before its last', () => {
    const hours = [{ from: '07:30', to: '18:00' }];
    expect(['07:29', '07:30', '17:59', '18:00'].map((time) => isWithin(hours, at(time)))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  test('that ends before it begins reaches into the next day, of the day that it began on', () => {
    const night = [{ days: ['wed' as const], from: '22:00', to: '06:00' }];
    expect(isWithin(night, at('05:00'))).toBe(false); // of the night that began on Tuesday
    expect(isWithin(night, at('22:00'))).toBe(true);
    expect(isWithin(night, at('05:59', 1))).toBe(true);
    expect(isWithin(night, at('06:00', 1))).toBe(false);
    expect(isWithin(night, at('23:00', 1))).toBe(false);
  });

  test('from a time to the same one is a whole day; several add up', () => {
    expect(isWithin([{ from: '00:00', to: '00:00' }], at('12:00'))).toBe(true);
    const both = [
      { from: '08:00', to: '09:00' },
      { days: ['thu' as const], from: '20:00', to: '21:00' },
    ];
    expect(isWithin(both, at('08:30', 1))).toBe(true);
    expect(isWithin(both, at('20:30', 1))).toBe(true);
    expect(isWithin(both, at('20:30'))).toBe(false);
  });
});
