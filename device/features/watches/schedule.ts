import type { WatchDefinition } from 'scenebus';

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
const DAY_MINUTES = 24 * 60;

/**
 * Whether a moment is within the hours of a watch, in the local time of this device. `to` is exclusive; before `from`
 * it reaches into the day after the ones that are named. Equal ones are a whole day.
 */
export function isWithin(schedule: WatchDefinition['schedule'], at: Date): boolean {
  if (schedule === undefined) return true;
  const minute = at.getHours() * 60 + at.getMinutes();
  const today = at.getDay();
  return schedule.some(({ days, from, to }) => {
    const isOn = (day: number) => days === undefined || days.includes(DAYS[(day + 7) % 7]!);
    const begin = minutesOf(from);
    const end = minutesOf(to);
    if (begin < end) return isOn(today) && minute >= begin && minute < end;
    const untilMidnight = isOn(today) && minute >= begin && minute < DAY_MINUTES;
    return untilMidnight || (isOn(today - 1) && minute < end);
  });
}

function minutesOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}
