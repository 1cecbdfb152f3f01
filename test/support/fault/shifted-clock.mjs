/**
 * Preloaded into a process (`node --import`): its wall clock is ahead by what the file CLOCK_SHIFT_FILE says, in
 * milliseconds, and jumps when that changes. Monotonic clocks go on as they are, as when a clock is set.
 */
import { readFileSync } from 'node:fs';

const RealDate = Date;
let shiftMs = 0;
const look = () => {
  try {
    shiftMs = Number(readFileSync(process.env.CLOCK_SHIFT_FILE, 'utf8'));
  } catch {
    shiftMs = 0; // not set yet
  }
};
look();
setInterval(look, 50).unref();

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + shiftMs);
    else super(...args);
  }
  static now() {
    return RealDate.now() + shiftMs;
  }
};
