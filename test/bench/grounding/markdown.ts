/** The tables of `test/bench/NOTES.md` and of the README. */
import type { Localisation, ScoreReport } from '#calibration/scores/index.js';
import type { GroundingBench } from './index.js';

export function groundingMarkdown({ seed, report, zeroed, tracks }: GroundingBench): string {
  const { allFrames, twentyMissed, frames } = tracks;
  return [
    `${report.scenes} scenes, seed ${seed}: ${searchesOf(report)}.`,
    '',
    ...rates(report),
    '',
    '| expected calibration error | before | after | claims |',
    '|---|---|---|---|',
    ...Object.entries(report.reliability).map(
      ([name, { before, after }]) =>
        `| ${name} | ${error(before.expectedCalibrationError)} | ${error(after.expectedCalibrationError)} | ${after.count} |`,
    ),
    '',
    `Heads ${zeroed.excluded.join(', ')} zeroed, ${zeroed.chosen.join(', ')} found instead; ${zeroed.report.scenes} scenes, ${searchesOf(zeroed.report)}:`,
    '',
    ...rates(zeroed.report),
    '',
    `| sample clip, ${frames} frames | things seen | with a box | switches |`,
    '|---|---|---|---|',
    `| all frames | ${allFrames.things} | ${allFrames.found} | ${allFrames.switches} |`,
    `| 20 of every 41 missed | ${twentyMissed.things} | ${twentyMissed.found} | ${twentyMissed.switches} |`,
  ].join('\n');
}

function rates({ sources }: ScoreReport): string[] {
  return [
    '| boxes | points at it | IoU ≥ 0.5 | mean IoU | for what is not there | … keeping 95 % of the right boxes |',
    '|---|---|---|---|---|---|',
    ...Object.entries(sources).flatMap(([name, { unverified, verified, atRecall95, verifiedAtRecall95 }]) => [
      row(name, unverified, atRecall95.falseAlarms),
      row(`${name}, verified`, verified, verifiedAtRecall95.falseAlarms),
    ]),
  ];
}

function row(name: string, { pointing, half, meanOverlap, searches }: Localisation, atRecall95: number): string {
  const shares = [pointing, half, meanOverlap].map((share) => share.toFixed(3));
  return `| ${[name, ...shares, percent(searches.falseAlarms), percent(atRecall95)].join(' | ')} |`;
}

function searchesOf({ searches: { unverified } }: ScoreReport): string {
  return `${unverified.present} searches for what is there, ${unverified.absent} for what is not`;
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const error = (value: number) => value.toFixed(4);
