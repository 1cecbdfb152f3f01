/** Hours in which something is done. */
import type { WatchDefinition } from 'scenebus/bus';

/** In the local time of the device; undefined: always. */
export type Schedule = WatchDefinition['schedule'];

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
const MINUTES_A_DAY = 1_440;

/** `to` is exclusive; before or equal to `from` it is a time of the next day. */
export function isWithin(schedule: Schedule, at: Date): boolean {
  if (schedule === undefined) return true;
  const now = 60 * at.getHours() + at.getMinutes();
  return schedule.some(({ days, from, to }) => {
    const start = minutesOf(from);
    const end = minutesOf(to) > start ? minutesOf(to) : minutesOf(to) + MINUTES_A_DAY;
    const isOn = (day: number) => days === undefined || days.includes(DAYS[day]!);
    const isToday = isOn(at.getDay()) && now >= start && now < end;
    // What began yesterday and lasts into today.
    return isToday || (isOn((at.getDay() + 6) % 7) && now + MINUTES_A_DAY < end);
  });
}

function minutesOf(time: string): number {
  const [hours, minutes] = time.split(':').map(Number);
  return 60 * hours! + minutes!;
}
