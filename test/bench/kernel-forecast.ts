/**
 * What `kernels --bench` measured, beside what jetson-forecast predicts with the factors of its table, and the factor that
 * the measurement would put there.
 */
import {
  BOARDS,
  type Board,
  decoderLaunches,
  EFFICIENCY,
  type Launch,
  secondsOf,
  totalSeconds,
} from './jetson-forecast.js';

/** One line of the harness. */
export interface KernelResult {
  readonly name: string;
  readonly ms: number;
  readonly gigabytesPerSecond?: number;
  readonly teraflops?: number;
}

/** The last line of the harness. */
export interface KernelReport {
  readonly device: string;
  readonly sm: number;
  readonly smCount: number;
  readonly results: readonly KernelResult[];
}

export interface Beside {
  readonly name: string;
  readonly measuredMs: number;
  /** Null where the forecast has no figure: arithmetic on a GPU that is none of its boards. */
  readonly predictedMs: number | null;
  /** Share of the board's bandwidth or arithmetic that was reached, and what the table assumes; null of a whole step. */
  readonly factor: { readonly kind: string; readonly measured: number; readonly assumed: number } | null;
}

/** The harness prints its report as the last line that is an object. */
export function kernelReportOf(output: string): KernelReport | undefined {
  const line = output
    .trimEnd()
    .split('\n')
    .reverse()
    .find((each) => each.startsWith('{"device"'));
  return line === undefined ? undefined : (JSON.parse(line) as KernelReport);
}

/** A board of the forecast by its multiprocessors; any other GPU by the bandwidth that copying reached. */
export function boardOf({ device, sm, smCount, results }: KernelReport): Board {
  const known = smCount >= 14 ? BOARDS['agx-orin-64'] : BOARDS['orin-nx-16'];
  if (sm === 87 && known !== undefined) return known;
  const copy = results.find(({ name }) => name === 'device copy')?.gigabytesPerSecond ?? Number.NaN;
  return { name: `${device}, of its copy bandwidth`, gigabytesPerSecond: copy, teraflops: Number.POSITIVE_INFINITY };
}

/** Launches that a line of the harness stands for; undefined for what is no launch, the copy. */
function launchesOf(name: string): Launch[] | undefined {
  const numbers = [...name.matchAll(/\d+/g)].map(([digits]) => Number(digits));
  const [first, second, third] = numbers as [number, number, number];
  if (name.startsWith('int4')) {
    const [, inputs, outputs, rows] = numbers as [number, number, number, number];
    const bytes = inputs * outputs * (0.5 + 2 / 128) + rows * (inputs + outputs) * 2;
    return [{ name, kind: 'int4', count: 1, bytes, operations: 2 * rows * inputs * outputs }];
  }
  if (name.startsWith('KV attention')) return attention(name, 'self-attention', second, first, 0);
  if (name.startsWith('cross-attention')) return attention(name, 'cross-attention', second, 0, first);
  if (name.startsWith('decoder step')) return decoderLaunches(first, second, third, first, 4);
  return undefined;
}

/** One layer's, of the model that the harness runs at full size. */
function attention(name: string, kind: string, rows: number, past: number, keys: number): Launch[] {
  const launch = decoderLaunches(rows, past, keys).find((each) => each.name === kind)!;
  return [{ ...launch, name, count: 1 }];
}

export function besideForecast(report: KernelReport): { readonly board: Board; readonly lines: readonly Beside[] } {
  const board = boardOf(report);
  const lines = report.results.flatMap(({ name, ms }): Beside[] => {
    const launches = launchesOf(name);
    if (launches === undefined) return [];
    const [launch] = launches as [Launch];
    const isStep = launches.length > 1;
    const { memory, compute } = EFFICIENCY[launch.kind];
    const reading = launch.bytes / (board.gigabytesPerSecond * 1e9 * memory);
    const computing = launch.operations / (board.teraflops * 1e12 * compute);
    const isKnown = isStep || board.teraflops !== Number.POSITIVE_INFINITY || !name.endsWith(`rows ${MANY_ROWS}`);
    const predictedMs = 1e3 * (isStep ? totalSeconds(launches, board) : secondsOf(launch, board));
    const seconds = ms / 1e3 - EFFICIENCY.launchSeconds;
    const measured =
      reading >= computing
        ? launch.bytes / seconds / (board.gigabytesPerSecond * 1e9)
        : launch.operations / seconds / (board.teraflops * 1e12);
    const kind = `${launch.kind}.${reading >= computing ? 'memory' : 'compute'}`;
    const factor = { kind, measured, assumed: reading >= computing ? memory : compute };
    return [
      { name, measuredMs: ms, predictedMs: isKnown ? predictedMs : null, factor: isStep || !isKnown ? null : factor },
    ];
  });
  return { board, lines };
}

/** Rows of the harness's prefill: bound by arithmetic. */
const MANY_ROWS = 512;

export function besideLines(report: KernelReport): string[] {
  const { board, lines } = besideForecast(report);
  const rows = lines.map(({ name, measuredMs, predictedMs, factor }) => {
    const times = `${measuredMs.toFixed(4).padStart(10)} ms ${(predictedMs?.toFixed(4) ?? '–').padStart(10)} ms`;
    const share = factor === null ? '' : `  ${factor.kind} ${factor.measured.toFixed(2)}, assumed ${factor.assumed}`;
    return `  ${name.padEnd(44)} ${times}${share}`;
  });
  return [
    `Measured beside predicted (jetson-forecast) on ${board.name}, ${board.gigabytesPerSecond.toFixed(1)} GB/s:`,
    ...rows,
  ];
}
