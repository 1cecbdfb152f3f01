/** Text decoders of published shapes: own engine and rivals do the same work in turn. */
import { type BandwidthProbe, type ProbedCalls, probeCalls } from './bandwidth.js';
import { BENCHMARKS, measure, type Result, resultOf } from './benchmarks.js';
import { type Contender, type ContenderOptions, openOnnx, openOwn } from './contenders.js';
import { openLlama } from './llama-rival.js';
import { randomModel } from './random-model.js';
import { type ShapeName, TEXT_SHAPES } from './shapes.js';

export interface TextBenchOptions extends ContenderOptions {
  readonly directory: string;
  readonly shape: ShapeName;
  readonly groupSize: number;
  readonly rounds: number;
  /** Of `own`, `onnx`, `llama`. */
  readonly without: readonly string[];
  /** Only benchmarks of so many tokens; empty: all. */
  readonly tokens: readonly number[];
  readonly probe: BandwidthProbe;
}

type Open = () => Promise<Contender>;

/** @param names of BENCHMARKS, or `load` */
export async function benchText(names: readonly string[], options: TextBenchOptions): Promise<readonly Result[]> {
  const { directory, shape, groupSize, rounds, without, probe } = options;
  console.log(`weights of shape ${shape}, group ${groupSize}, in ${directory}`);
  const model = await randomModel(directory, shape, groupSize);
  const all: Record<string, Open> = {
    own: () => openOwn(model, options),
    onnx: () => openOnnx(model, options),
    llama: () => openLlama(directory, shape, TEXT_SHAPES[shape], options),
  };
  const wanted = Object.entries(all).filter(([name]) => !without.includes(name));

  const contenders: { readonly open: Open; readonly contender: Contender }[] = [];
  for (const [name, open] of wanted) {
    try {
      const contender = await open();
      contenders.push({ open, contender });
      console.log(`${contender.name}: opened in ${(contender.loadMs / 1000).toFixed(1)} s`);
    } catch (error) {
      if (name !== 'llama') throw error;
      console.log(`llama.cpp is left out: ${error instanceof Error ? error.message : error}`);
    }
  }
  const results: Result[] = [];
  const add = (some: readonly Result[], tokens: number) => {
    results.push(...some);
    for (const result of some) console.log(tableRow(result, tokens));
    const [own, ...rivals] = some;
    for (const rival of rivals) console.log(`  ${ratios(own!, rival)}`);
  };
  console.log(
    line(['benchmark', 'contender', 'median ms', 'best ms', 'tokens/s', 'of roofline', 'GB/s', 'of 1 stream', 'GB/s']),
  );
  const { layers, keyValueHeads, headDim } = TEXT_SHAPES[shape];
  const work = {
    contenders: contenders.map(({ contender }) => contender),
    probe,
    rounds,
    cacheValuesPerToken: layers * keyValueHeads * headDim * 2,
  };
  for (const benchmark of names.flatMap((name) => BENCHMARKS[name] ?? [])) {
    if (benchmark.context + benchmark.tokens > options.contextLength) continue;
    if (options.tokens.length > 0 && !options.tokens.includes(benchmark.tokens)) continue;
    add(await measure(benchmark, work), benchmark.tokens);
  }
  for (const { contender } of contenders) await contender.close();
  if (names.includes('load'))
    add(
      await measureLoads(
        contenders.map(({ open }) => open),
        rounds,
        probe,
      ),
      0,
    );
  return results;
}

/** Everything is prepared by now, and what the system keeps of the files is warm. */
async function measureLoads(opens: readonly Open[], rounds: number, probe: BandwidthProbe): Promise<Result[]> {
  const loads = opens.map(() => ({ name: '', rounds: [] as ProbedCalls[] }));
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, open] of opens.entries()) {
      const load = loads[index]!;
      const timedOpen = async () => {
        const contender = await open();
        load.name = contender.name;
        await contender.close();
        return contender.loadMs;
      };
      load.rounds.push(await probeCalls(probe, [1, 1], timedOpen));
    }
  }
  return loads.map(({ name, rounds: timed }) => resultOf('load', name, timed, 0));
}

function tableRow(result: Result, tokens: number): string {
  return line([
    result.benchmark,
    result.contender,
    result.medianMs.toFixed(1),
    result.bestMs.toFixed(1),
    tokens === 0 ? '' : ((tokens / result.medianMs) * 1000).toFixed(1),
    tokens === 1 ? result.rooflineFraction.toFixed(2) : '',
    result.bandwidthGBs.toFixed(1),
    tokens === 1 ? result.oneStreamFraction.toFixed(2) : '',
    result.oneStreamGBs.toFixed(1),
  ]);
}

function ratios(own: Result, rival: Result): string {
  const times = (of: 'medianMs' | 'bestMs') => (rival[of] / own[of]).toFixed(2);
  return `${rival.contender} / ${own.contender}: ${times('medianMs')} x by medians, ${times('bestMs')} x by bests`;
}

function line(cells: readonly string[]): string {
  const widths = [24, 26, 10, 9, 9, 12, 6, 12, 6];
  return cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' ');
}
