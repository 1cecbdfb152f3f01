/** `scenebus build-engine`: what a model needs here, whether it can have it, and then the plans. */
import { type CallOptions, type Checkpoint, type Logger, type OnProgress, openCheckpoint, SdkError } from 'scenebus';
import {
  type ForecastOptions,
  forecastMemorySavings,
  forecastTensorRtMemory,
  type MemoryForecast,
  type MemorySaving,
  openTensorRtEngine,
  prepareTensorRtGraphs,
  type TensorRtMode,
  type TensorRtStatus,
  tensorRtStatus,
} from 'scenebus/tensorrt';
import { type Machine, thisMachine } from '../machine.js';
import { describeBoard, powerModeAdvice, readJetsonBoard } from './board.js';
import { describeFittingModules, modelBytesOf } from './modules.js';

export interface EngineBuildOptions extends CallOptions {
  readonly model: string;
  readonly mode: 'auto' | TensorRtMode;
  readonly contextLength?: number | undefined;
  readonly cacheDirectory?: string | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly logger?: Logger | undefined;
}

/** What the build asks of the machine; injected, so that every outcome can be tested without a device. */
export interface EngineBuildParts {
  readonly machine: Pick<Machine, 'readText'>;
  readonly status: () => TensorRtStatus;
  readonly prepareGraphs: typeof prepareTensorRtGraphs;
  readonly openEngine: typeof openTensorRtEngine;
}

const realParts: EngineBuildParts = {
  machine: thisMachine,
  status: tensorRtStatus,
  prepareGraphs: prepareTensorRtGraphs,
  openEngine: openTensorRtEngine,
};

const DEFAULT_CONTEXT = 4096;
const NAME_WIDTH = 30;

/**
 * Says line by line what it finds. Without a device it still forecasts and writes the graphs.
 * @throws SdkError ERR_ENGINE_INCOMPATIBLE a JetPack whose TensorRT is too old
 * @throws SdkError ERR_ENGINE_OUT_OF_MEMORY with the modules that would fit
 * @throws SdkError ERR_NATIVE_UNAVAILABLE … what is missing on this machine; the graphs are written then
 */
export async function buildEngine(
  options: EngineBuildOptions,
  say: (line: string) => void,
  parts: EngineBuildParts = realParts,
): Promise<void> {
  const checkpoint = await openCheckpoint(options.model, { signal: options.signal });
  const { text } = checkpoint.model.architecture;
  const contextLength = options.contextLength ?? Math.min(DEFAULT_CONTEXT, text.maxPositionEmbeddings);
  const forecastMode = options.mode === 'auto' ? 'plugin' : options.mode;
  const forecastOptions: ForecastOptions = { contextLength, mode: forecastMode };
  const forecast = forecastTensorRtMemory(checkpoint.model, forecastOptions);
  for (const line of describeForecast(checkpoint, forecast, contextLength)) say(line);
  for (const line of describeSavings(forecastMemorySavings(checkpoint.model, forecastOptions))) say(line);

  const board = await readJetsonBoard(parts.machine);
  if (board !== null) {
    say(`Board: ${describeBoard(board)}`);
    const advice = powerModeAdvice(board);
    if (advice !== undefined) say(`  ${advice}`);
    if (board.release.problem !== null) throw new SdkError('ERR_ENGINE_INCOMPATIBLE', board.release.problem);
  }

  const status = statusOf(parts);
  if (status.problem !== null || status.device === null) {
    const directory = await parts.prepareGraphs(checkpoint, { ...options, mode: forecastMode, contextLength });
    say(`Graphs: ${directory}`);
    say('Plans are built for one device, on it: they cannot be made here.');
    throw new SdkError('ERR_NATIVE_UNAVAILABLE', status.problem?.message ?? 'There is no CUDA device.');
  }
  const { device, library } = status;
  say(`Device: ${device.name}, ${gigabytes(device.freeBytes)} of ${gigabytes(device.totalBytes)} free`);
  say(`TensorRT ${library?.version ?? 'unknown'} (${library?.path ?? '?'}), compiled for ${status.compiledFor}`);
  if (!device.hasKernels) say('  without own kernels: nvcc was not there when the addon was built');
  requireRoom(checkpoint, forecast, device);

  // As `loadModel` opens it: heads that localise are read out of the plans.
  const attentionTaps = checkpoint.manifest.attention !== undefined;
  const engineOptions = { ...options, contextLength, mode: options.mode, attentionTaps };
  const engine = await parts.openEngine(checkpoint, engineOptions);
  say(`Ready: ${engine.info.device}, ${engine.info.contextLength} tokens of context`);
  await engine[Symbol.asyncDispose]();
}

/** An addon that is not built is a reason too, and no end: forecast and graphs need none. */
function statusOf(parts: EngineBuildParts): Pick<TensorRtStatus, 'compiledFor' | 'library' | 'device' | 'problem'> {
  try {
    return parts.status();
  } catch (error) {
    if (!(error instanceof SdkError)) throw error;
    return {
      compiledFor: null,
      library: null,
      device: null,
      problem: { code: error.code, message: error.message },
    };
  }
}

function requireRoom(
  { name }: Checkpoint,
  forecast: MemoryForecast,
  { freeBytes, totalBytes }: { readonly freeBytes: number; readonly totalBytes: number },
): void {
  if (forecast.leastBytes <= freeBytes) return;
  const isTooSmall = forecast.leastBytes > totalBytes;
  const free = `${gigabytes(freeBytes)} of ${gigabytes(totalBytes)} are free`;
  const remedy = isTooSmall
    ? describeFittingModules(forecast.leastBytes)
    : `End other programs (the desktop first: \`sudo systemctl isolate multi-user.target\`) or choose a smaller --context. ${describeFittingModules(forecast.leastBytes)}`;
  throw new SdkError(
    'ERR_ENGINE_OUT_OF_MEMORY',
    `${name} needs at least ${gigabytes(forecast.leastBytes)} of memory, but ${free}. ${remedy}`,
    { details: { leastBytes: forecast.leastBytes, freeBytes, totalBytes } },
  );
}

function describeForecast(
  { name, model }: Pick<Checkpoint, 'name' | 'model'>,
  { parts, leastBytes, mostBytes }: MemoryForecast,
  contextLength: number,
): string[] {
  const weights = model.int4 === null ? '16 bits' : 'int4';
  const range = (least: number, most: number) =>
    least === most ? gigabytes(least) : `${gigabytes(least)} to ${gigabytes(most)}`;
  const boards = [8, 16, 32, 64].map((memoryGiB) => {
    const room = modelBytesOf({ memoryGiB });
    const fits = leastBytes <= room ? (mostBytes <= room ? 'fits' : 'may fit: scratch decides') : 'does not fit';
    return `  ${`${memoryGiB} GB board`.padEnd(NAME_WIDTH)} ${gigabytes(room)} for a model: ${fits}`;
  });
  return [
    `Memory for ${name} (${weights}, ${contextLength} tokens of context):`,
    ...parts.map((part) => `  ${part.name.padEnd(NAME_WIDTH)} ${range(part.leastBytes, part.mostBytes)}`),
    `  ${'in all'.padEnd(NAME_WIDTH)} ${range(leastBytes, mostBytes)}. ${describeFittingModules(leastBytes)}`,
    ...boards,
  ];
}

/** Each choice alone, and what is needed with it and those above it. */
function describeSavings(savings: readonly MemorySaving[]): string[] {
  const lines = savings.map(({ name, savedBytes, leastBytes, how }) => {
    const room = modelBytesOf({ memoryGiB: 8 });
    const fits = leastBytes <= room ? ', which an 8 GB board has' : '';
    const choice = how ?? 'not yet in the tensorrt backend';
    return `  ${name.padEnd(NAME_WIDTH)} saves ${gigabytes(savedBytes)}; with those above ${gigabytes(leastBytes)}${fits} (${choice})`;
  });
  return lines.length === 0 ? [] : ['What would need less:', ...lines];
}

function gigabytes(bytes: number): string {
  return bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
