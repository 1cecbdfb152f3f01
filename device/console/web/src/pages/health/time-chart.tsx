import { useState } from 'preact/hooks';
import type { Figure, Mark } from './metrics.js';

export interface TimeChartProps {
  readonly figure: Figure;
  /** Starts of the spans, oldest first. */
  readonly times: readonly number[];
  /** Of each span, which start of the device it belongs to. */
  readonly run: readonly number[];
  readonly stepMs: number;
  readonly from: number;
  readonly to: number;
  readonly marks: readonly Mark[];
}

const WIDTH = 320;
const HEIGHT = 100;
/** Spans without a figure that a line still bridges: answers do not come in every one. */
const BRIDGED_SPANS = 4;

/** One figure over time: its mean as a line within the band from its least to its greatest. */
export function TimeChart({ figure, times, run, stepMs, from, to, marks }: TimeChartProps) {
  const [pointed, setPointed] = useState<number>();
  const { title, unit, points } = figure;
  const known = points.flatMap((point, index) => (point === null ? [] : [{ ...point, index }]));
  const greatest = Math.max(...known.map((each) => each.greatest));
  const high = Math.max(greatest, 1e-9);
  const low = Math.min(0, ...known.map(({ least }) => least));
  const x = (atMs: number) => (WIDTH * (atMs - from)) / (to - from);
  const y = (value: number) => HEIGHT - 3 - ((HEIGHT - 6) * (value - low)) / (high - low);
  const pieces = piecesOf(known, times, run, stepMs);
  const last = known.at(-1);
  const shown = known.find(({ index }) => index === pointed) ?? last;
  const words = (value: number | undefined) => (value === undefined ? '–' : `${format(value)}${unit}`);
  const point = (event: PointerEvent): void => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const atMs = from + ((event.clientX - box.left) / box.width) * (to - from);
    const distance = (index: number) => Math.abs(times[index]! - atMs);
    setPointed(
      known.reduce<number | undefined>(
        (best, { index }) => (best === undefined || distance(index) < distance(best) ? index : best),
        undefined,
      ),
    );
  };
  /** As the pointer does, from one known span to the next. */
  const step = (event: KeyboardEvent): void => {
    const at = known.findIndex(({ index }) => index === (shown ?? last)?.index);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: known.length - 1 }[event.key];
    if (next === undefined || known.length === 0) return;
    event.preventDefault();
    setPointed(known[Math.min(known.length - 1, Math.max(0, next))]!.index);
  };
  const reading =
    shown === undefined
      ? 'no figure'
      : `${clock(times[shown.index]!, to - from)}: ${words(shown.mean)}, ${format(shown.least)} to ${words(shown.greatest)}`;
  return (
    <figure class="card chart" data-figure={figure.key}>
      <figcaption>
        {title} <b>{words(shown?.mean)}</b>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        // Read along it, by pointer or by arrow keys.
        role="slider"
        tabIndex={0}
        aria-valuemin={0}
        aria-valuemax={Math.max(0, known.length - 1)}
        aria-valuenow={Math.max(0, known.findIndex(({ index }) => index === shown?.index))}
        aria-valuetext={reading}
        aria-label={`${title}: at last ${words(last?.mean)}, at most ${words(known.length > 0 ? greatest : undefined)}, at least ${words(
          Math.min(...known.map(({ least }) => least)),
        )}${marks.length > 0 ? `; ${describeMarks(marks)}` : ''}`}
        onPointerMove={point}
        onPointerLeave={() => setPointed(undefined)}
        onKeyDown={step}
        onBlur={() => setPointed(undefined)}
      >
        {marks.map(({ atMs, kind }) => (
          <line key={`${kind} ${atMs}`} class={kind} x1={x(atMs)} x2={x(atMs)} y1="0" y2={HEIGHT} />
        ))}
        {pieces.map((piece) => {
          const at = (of: 'least' | 'mean' | 'greatest') => (each: (typeof piece)[number]) =>
            `${x(times[each.index]!).toFixed(1)} ${y(each[of]).toFixed(1)}`;
          const start = piece[0]!.index;
          return (
            <g key={start}>
              <path
                class="band"
                d={`M${piece.map(at('greatest')).join('L')}L${piece.toReversed().map(at('least')).join('L')}Z`}
              />
              <path
                class="line"
                d={`M${piece.map(at('mean')).join('L')}${piece.length === 1 ? 'h1.5' : ''}`}
                vector-effect="non-scaling-stroke"
              />
            </g>
          );
        })}
        {pointed !== undefined && shown !== undefined && (
          <line class="pointed" x1={x(times[shown.index]!)} x2={x(times[shown.index]!)} y1="0" y2={HEIGHT} />
        )}
      </svg>
      <p class="axis">
        <span>{clock(from, to - from)}</span>
        <span>
          {pointed !== undefined && shown !== undefined
            ? `${clock(times[shown.index]!, to - from)}: ${format(shown.least)} to ${words(shown.greatest)}`
            : `at most ${words(known.length > 0 ? greatest : undefined)}`}
        </span>
        <span>{clock(to, to - from)}</span>
      </p>
    </figure>
  );
}

/** Lines end where the device was off, or began anew. */
function piecesOf<Point extends { readonly index: number }>(
  known: readonly Point[],
  times: readonly number[],
  run: readonly number[],
  stepMs: number,
): Point[][] {
  const pieces: Point[][] = [];
  for (const point of known) {
    const before = pieces.at(-1)?.at(-1);
    const isSameRun = before !== undefined && run[before.index] === run[point.index];
    // The device was on in between as long as it told other figures.
    const isNear =
      before !== undefined &&
      (times[point.index]! - times[before.index]! <= BRIDGED_SPANS * Math.max(stepMs, 10_000) ||
        isWhole(times, before.index, point.index, stepMs));
    if (isSameRun && isNear) pieces.at(-1)!.push(point);
    else pieces.push([point]);
  }
  return pieces;
}

function isWhole(times: readonly number[], start: number, end: number, stepMs: number): boolean {
  for (let index = start; index < end; index++)
    if (times[index + 1]! - times[index]! > BRIDGED_SPANS * Math.max(stepMs, 10_000)) return false;
  return true;
}

export function describeMarks(marks: readonly Mark[]): string {
  const count = (kind: Mark['kind']) => marks.filter((mark) => mark.kind === kind).length;
  const [restarts, throttled] = [count('restart'), count('throttled')];
  return [
    ...(restarts > 0 ? [`${restarts} ${restarts === 1 ? 'start' : 'starts'} of the device`] : []),
    ...(throttled > 0 ? [`throttled in ${throttled} ${throttled === 1 ? 'span' : 'spans'}`] : []),
  ].join(', ');
}

function clock(atMs: number, rangeMs: number): string {
  const at = new Date(atMs);
  const time = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  if (rangeMs <= 86_400_000) return time;
  return `${at.toLocaleDateString([], { month: 'short', day: 'numeric' })} ${time}`;
}

function format(value: number): string {
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString();
  return value.toFixed(Math.abs(value) < 1 ? 2 : 1);
}
