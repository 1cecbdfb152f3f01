/**
 * Two clocks, because no machine has one that is good for both. The wall clock is set: by NTP, by hand, from a board's
 * clock without a battery. So intervals, ages, deadlines and uptimes are measured with the monotonic one; the wall clock
 * only stamps what other machines read.
 */
export interface Clock {
  /**
   * Milliseconds since some fixed moment of this machine's run; never goes back. The same for all processes of the
   * machine (CLOCK_MONOTONIC on Linux), so that frames of a capture process have an age here.
   */
  monotonicMs(): number;
  /** Unix time, milliseconds. Only for stamps. */
  wallMs(): number;
}

// Bus clients also run in browsers, where there is no process.
const hrtime = typeof process === 'undefined' ? undefined : process.hrtime;

/** This machine's clocks. */
export const systemClock: Clock = Object.freeze({
  monotonicMs(): number {
    if (hrtime === undefined) return performance.now();
    const [seconds, nanoseconds] = hrtime();
    return seconds * 1000 + nanoseconds / 1e6;
  },
  wallMs: () => Date.now(),
});
