/** Figures in a journal from before a device was started: charts need not wait for the first of its own. */
import { journalFile, journalOptions } from '#device/app/journal-options.js';
import type { DeviceConfig } from '#device/config/schema.js';
import { Journal } from '#device/journal/journal.js';

const MINUTE_MS = 60_000;

/** Half an hour of a device that grew hot and slowed itself down twice; it ended ten minutes ago. */
export async function writeEarlierRun(config: DeviceConfig): Promise<void> {
  await using journal = await Journal.open({ file: journalFile(config)!, limits: journalOptions(config).limits });
  const nowMs = Date.now();
  for (let minute = 40; minute > 10; minute -= 0.5) {
    const metrics = {
      'framesPerSecond table': 15,
      cpuTemperatureCelsius: 50 + (40 - minute),
      overCurrentThrottlings: minute > 25 ? 0 : minute > 15 ? 1 : 2,
    };
    journal.recordHealth({ atMs: nowMs - minute * MINUTE_MS, run: 'earlier', metrics });
    if (minute % 5 === 0) await journal.flush();
  }
}
