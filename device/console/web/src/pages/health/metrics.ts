/** Which figures are drawn, in which order, and what marks the time axis. */
import type { HealthHistory } from '../../../../api/health-schemas.js';

export interface Figure {
  readonly key: string;
  readonly title: string;
  readonly unit: string;
  /** One for each entry of `times`; null: none. */
  readonly points: readonly (FigurePoint | null)[];
}

export interface FigurePoint {
  readonly least: number;
  readonly mean: number;
  readonly greatest: number;
}

export interface Mark {
  readonly atMs: number;
  readonly kind: 'restart' | 'throttled';
}

interface Drawn {
  readonly match: RegExp;
  readonly title: (found: RegExpExecArray) => string;
  readonly unit: string;
  readonly scale?: number;
  /** It only grows: what it grew by in each span is drawn. */
  readonly isCounter?: true;
  /** Drawn only where it is not 0 throughout. */
  readonly isOnlyTrouble?: true;
}

const MB = { unit: ' MB', scale: 1e-6 } as const;
const LOST = { unit: '', isCounter: true, isOnlyTrouble: true } as const;

const DRAWN: readonly Drawn[] = [
  { match: /^framesPerSecond (.+)$/, title: ([, id]) => `Pictures of ${id}`, unit: '/s' },
  { match: /^answerMs$/, title: () => 'Time of an answer', unit: ' ms' },
  { match: /^firstTokenMs$/, title: () => 'Time to the first token', unit: ' ms' },
  { match: /^tokensPerSecond$/, title: () => 'Speed of writing', unit: ' tokens/s' },
  { match: /^questionsWaiting$/, title: () => 'Questions that wait', unit: '' },
  { match: /^processRssBytes$/, title: () => 'Memory of the service', ...MB },
  { match: /^modelMemoryBytes$/, title: () => 'Memory of the model', ...MB },
  { match: /^availableBytes$/, title: () => 'Free memory', ...MB },
  { match: /^(.+)TemperatureCelsius$/, title: ([, zone]) => `Temperature ${spaced(zone!)}`, unit: ' °C' },
  { match: /^(.+)PowerWatts$/, title: ([, rail]) => `Power ${spaced(rail!)}`, unit: ' W' },
  { match: /^gpuLoadPercent$/, title: () => 'Load of the GPU', unit: ' %' },
  { match: /^queued$/, title: () => 'Messages that wait for the broker', unit: '' },
  { match: /^eventsPending$/, title: () => 'Events that wait for the broker', unit: '' },
  { match: /^journalBytes$/, title: () => 'Journal', ...MB },
  { match: /^droppedQueueFull$/, title: () => 'Messages lost: queue full', ...LOST },
  { match: /^droppedExpired$/, title: () => 'Messages lost: too old', ...LOST },
  { match: /^eventsDroppedQueueFull$/, title: () => 'Events lost: queue full', ...LOST },
  { match: /^eventsDroppedExpired$/, title: () => 'Events lost: too old', ...LOST },
  { match: /^journalDropped$/, title: () => 'Events the journal lost', ...LOST },
  { match: /^requestsBusy$/, title: () => 'Requests refused: busy', ...LOST },
  { match: /^publishFailures$/, title: () => 'Messages the broker refused', ...LOST },
  { match: /^disconnects$/, title: () => 'Connections lost to the broker', ...LOST },
  { match: /^modelRestarts$/, title: () => 'Restarts of the model', ...LOST },
  { match: /^overCurrentThrottlings$/, title: () => 'Throttlings for over-current', ...LOST },
];

const THROTTLINGS = 'overCurrentThrottlings';

export function figuresOf(history: HealthHistory): Figure[] {
  return DRAWN.flatMap((drawn) =>
    Object.keys(history.series).flatMap((key): Figure[] => {
      const found = drawn.match.exec(key);
      if (found === null) return [];
      const points = drawn.isCounter ? growth(history, key) : spread(history, key, drawn.scale ?? 1);
      if (points.every((point) => point === null)) return [];
      if (drawn.isOnlyTrouble && points.every((point) => (point?.greatest ?? 0) === 0)) return [];
      return [{ key, title: drawn.title(found), unit: drawn.unit, points }];
    }),
  );
}

/** Starts of the device after the first that is seen, and spans in which the board slowed itself down. */
export function marksOf(history: HealthHistory): Mark[] {
  const { times, run } = history;
  const throttled = THROTTLINGS in history.series ? growth(history, THROTTLINGS) : [];
  return times.flatMap((atMs, index): Mark[] => [
    ...(index > 0 && run[index] !== run[index - 1] ? [{ atMs, kind: 'restart' as const }] : []),
    ...((throttled[index]?.greatest ?? 0) > 0 ? [{ atMs, kind: 'throttled' as const }] : []),
  ]);
}

function spread({ times, series }: HealthHistory, key: string, scale: number): (FigurePoint | null)[] {
  const { least, mean, greatest } = series[key]!;
  return times.map((_, index) => {
    const [low, middle, high] = [least[index], mean[index], greatest[index]];
    if (low == null || middle == null || high == null) return null;
    return { least: low * scale, mean: middle * scale, greatest: high * scale };
  });
}

/** By how much a counter grew in each span; it begins anew with each start of the device. */
function growth({ times, run, series }: HealthHistory, key: string): (FigurePoint | null)[] {
  const { greatest } = series[key]!;
  let before: { readonly run: number | undefined; readonly value: number } | undefined;
  return times.map((_, index) => {
    const value = greatest[index];
    if (value == null) return null;
    // What it had at the first look of a range came before it; a new start counts from 0.
    const from = before === undefined ? value : before.run === run[index] ? before.value : 0;
    before = { run: run[index], value };
    const grown = Math.max(0, value - from);
    return { least: grown, mean: grown, greatest: grown };
  });
}

/** `vddGpuSoc` becomes `vdd gpu soc`. */
function spaced(name: string): string {
  return name.replace(/([A-Z])/g, ' $1').toLowerCase();
}
