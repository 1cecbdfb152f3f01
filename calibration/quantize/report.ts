/**
 * What quantising costs: mean KL divergence to the float model for each method and group size, on scenes that took no
 * part in calibration. `node dist/calibration/quantize/report.js [--scenes 16] …`
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { isSdkError } from '#sdk/core/errors.js';
import { openCpuEngine } from '#sdk/engine/index.js';
import type { OpenEngine } from '#sdk/engine/options.js';
import { readCalibration } from './calibration-samples.js';
import { compare, type Divergence, type Predictions, predict, predictOn } from './divergence.js';
import type { LmHeadPrecision, QuantizeMethod } from './plan.js';
import { QUANTIZE_GROUP_SIZES, quantizeCheckpoint } from './quantize.js';

const demoModel = fileURLToPath(new URL('../../../examples/demo-model', import.meta.url));

export interface QuantizeReportOptions {
  readonly checkpoint: string;
  /** A folder or file as `--calibrate` takes it: the first half calibrates, the second is measured. */
  readonly data: string;
  /** Of each half. */
  readonly scenes: number;
  readonly groups: readonly (typeof QUANTIZE_GROUP_SIZES)[number][];
  readonly lmHead?: LmHeadPrecision | undefined;
  /** Each quantised model also on the cpu backend, with its vision tower in float and in int8. */
  readonly vision?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly acceptLlamaLicense?: boolean | undefined;
}

export interface QuantizeReportLine extends Divergence {
  readonly method: QuantizeMethod;
  /** What computed: ONNX Runtime with float32 activations, or the cpu backend. */
  readonly engine: 'onnx' | 'cpu' | 'cpu, int8 vision';
  readonly groupSize: number;
  readonly relativeError: number;
}

/** Both methods at every group size. Nothing stays on disk. */
export async function quantizeReport(
  options: QuantizeReportOptions,
  onLine: (line: QuantizeReportLine) => void = () => {},
): Promise<QuantizeReportLine[]> {
  const { checkpoint: source, data, scenes, threads, lmHead, acceptLlamaLicense } = options;
  const temporary = await mkdtemp(join(tmpdir(), 'scenebus-quantize-'));
  try {
    const cacheDirectory = join(temporary, 'cache');
    const checkpoint = await openCheckpoint(source);
    const calibrate = await readCalibration(data, checkpoint, { count: scenes });
    const measured = await readCalibration(data, checkpoint, { first: scenes, count: scenes });
    const reference = await predict(checkpoint, measured, { threads, cacheDirectory });
    const { vocabularySize } = checkpoint.model.architecture.text;
    const lines: QuantizeReportLine[] = [];
    for (const groupSize of options.groups) {
      for (const method of ['rtn', 'awq'] as const) {
        const output = join(temporary, `Llama-${method}-${groupSize}`);
        const { relativeError } = await quantizeCheckpoint({
          source,
          output,
          groupSize,
          method,
          lmHead,
          calibrate,
          threads,
          acceptLlamaLicense,
        });
        const quantized = await openCheckpoint(output);
        const add = (engine: QuantizeReportLine['engine'], predictions: Predictions) => {
          const divergence = compare(reference, predictions, vocabularySize);
          const line = { method, engine, groupSize, relativeError, ...divergence };
          lines.push(line);
          onLine(line);
        };
        add('onnx', await predict(quantized, measured, { threads, cacheDirectory }));
        if (!options.vision) continue;
        for (const precision of ['float', 'int8'] as const) {
          const open: OpenEngine = (model, more) => openCpuEngine(model, { ...more, vision: { precision } });
          const predictions = await predictOn(open, quantized, measured, { threads, cacheDirectory });
          add(precision === 'int8' ? 'cpu, int8 vision' : 'cpu', predictions);
        }
      }
    }
    return lines;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function formatReportLine({
  method,
  engine,
  groupSize,
  meanKl,
  sameToken,
  relativeError,
  rows,
}: QuantizeReportLine): string {
  const numbers = [meanKl.toFixed(5), (100 * sameToken).toFixed(2), (100 * relativeError).toFixed(2), String(rows)];
  return `| ${method} | ${engine} | ${groupSize} | ${numbers.join(' | ')} |`;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Expected a whole number above 0.');
  return value;
}

function groupList(text: string): (typeof QUANTIZE_GROUP_SIZES)[number][] {
  return text.split(',').map((word) => {
    const size = QUANTIZE_GROUP_SIZES.find((each) => each === Number(word));
    if (size === undefined) throw new InvalidArgumentError('Expected 32, 64 and 128, with commas between.');
    return size;
  });
}

async function main(): Promise<void> {
  const options = new Command('quantize-report')
    .description('Measure what int4 costs, for both methods and several group sizes.')
    .option('--checkpoint <folder>', 'model in 16 or 32 bit', join(demoModel, 'checkpoint'))
    .option('--data <place>', 'scenes.jsonl or folder of pictures', join(demoModel, 'evaluation', 'scenes.jsonl'))
    .option('--scenes <number>', 'to calibrate with, and as many others to measure on', wholeNumber, 16)
    .option('--groups <sizes>', 'group sizes', groupList, [...QUANTIZE_GROUP_SIZES])
    .option('--lm-head <form>', 'bf16, int8 or int4', 'bf16')
    .option('--vision', 'also on the cpu backend, with the vision tower in float and in int8', false)
    .option('--threads <number>', 'of the engines', wholeNumber)
    .option('--accept-llama-license', 'you have read and accept the licence of a Llama model', false)
    .parse()
    .opts<QuantizeReportOptions>();
  console.log('| method | engine | group | mean KL (nats) | same token (%) | weight error (%) | rows |');
  console.log('|---|---|---|---|---|---|---|');
  await quantizeReport(options, (line) => console.log(formatReportLine(line)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main().catch((error: unknown) => {
    console.error(isSdkError(error) ? `${error.code}: ${error.message}` : error);
    process.exitCode = 1;
  });
}
