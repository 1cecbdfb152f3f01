/**
 * What the 11B model should take on a Jetson, from bytes and operations of every launch: nothing is measured here. One
 * run on a device replaces the factors in EFFICIENCY and BOARDS by what it measured.
 */
import { parseArgs } from 'node:util';
import { visionGeometry, visionTokens } from '#sdk/architecture/vision-tokens.js';
import { architectureOf, configSchema } from '#sdk/checkpoint/config.js';

export interface Board {
  readonly name: string;
  /** Of the memory, from NVIDIA's data sheets. */
  readonly gigabytesPerSecond: number;
  /** Dense float16 on tensor cores: SMs × 1024 multiply-adds × 2 × clock. */
  readonly teraflops: number;
}

export const BOARDS: Readonly<Record<string, Board>> = {
  'agx-orin-64': { name: 'AGX Orin 64 GB, MAXN', gigabytesPerSecond: 204.8, teraflops: 16 * 2048 * 1.3e-3 },
  'orin-nx-16': { name: 'Orin NX 16 GB, MAXN SUPER', gigabytesPerSecond: 102.4, teraflops: 8 * 2048 * 1.173e-3 },
  'orin-nano-8': { name: 'Orin Nano 8 GB, MAXN SUPER', gigabytesPerSecond: 102.4, teraflops: 8 * 2048 * 1.02e-3 },
};

/**
 * Share of the board's figure that a kind of launch reaches. Assumed: targets of our kernels (`int4`), and what
 * libraries usually reach on sm_87. Seconds of a launch: its start inside a CUDA graph.
 */
export const EFFICIENCY = {
  int4: { memory: 0.85, compute: 0.5 },
  head: { memory: 0.9, compute: 0.6 },
  attention: { memory: 0.7, compute: 0.4 },
  elementwise: { memory: 0.6, compute: 1 },
  vision: { memory: 0.7, compute: 0.5 },
  launchSeconds: 2e-6,
} as const;

type Kind = Exclude<keyof typeof EFFICIENCY, 'launchSeconds'>;

export interface Launch {
  readonly name: string;
  readonly kind: Kind;
  readonly count: number;
  /** Of one launch. */
  readonly bytes: number;
  readonly operations: number;
}

const HALF = 2;
const FLOAT = 4;
const GROUP = 128;
const PROMPT_TOKENS = 32;

const { architecture } = architectureOf(
  configSchema.parse({ model_type: 'mllama', vision_config: { image_size: 560 } }),
);

/** A step of `tokens` tokens behind `past` others that look at `keys` positions of pictures. */
export function decoderLaunches(
  tokens: number,
  past: number,
  keys: number,
  logitsRows = 1,
  headBits: 4 | 16 = 16,
): Launch[] {
  const { text } = architecture;
  const { hiddenSize: hidden, intermediateSize: inter, attentionHeads, keyValueHeads, headDim } = text;
  const cross = text.crossAttentionLayers.length;
  const self = text.layers - cross;
  const kv = keyValueHeads * headDim;
  const product = (name: string, count: number, inputs: number, outputs: number): Launch => ({
    name,
    kind: 'int4',
    count,
    bytes: inputs * outputs * (0.5 + HALF / GROUP) + tokens * (inputs + outputs) * HALF,
    operations: 2 * tokens * inputs * outputs,
  });
  const attention = (name: string, count: number, seen: number): Launch => ({
    name,
    kind: 'attention',
    count,
    bytes: 2 * seen * kv * HALF + 2 * tokens * hidden * HALF,
    operations: 4 * tokens * seen * attentionHeads * headDim,
  });
  return [
    product('q, o', 2 * text.layers, hidden, hidden),
    product('k, v', 2 * self, hidden, kv),
    product('gate, up', 2 * text.layers, hidden, inter),
    product('down', text.layers, inter, hidden),
    attention('self-attention', self, past + tokens),
    ...(keys > 0 ? [attention('cross-attention', cross, keys)] : []),
    {
      name: 'norms, sums',
      kind: 'elementwise',
      count: 4 * text.layers,
      bytes: 4 * tokens * hidden * FLOAT,
      operations: 0,
    },
    {
      name: 'head',
      kind: headBits === 4 ? 'int4' : 'head',
      count: 1,
      bytes: hidden * text.vocabularySize * (headBits === 4 ? 0.5 + HALF / GROUP : HALF),
      operations: 2 * logitsRows * hidden * text.vocabularySize,
    },
  ];
}

/** The vision tower with copies merged, the projector, and keys and values of all cross layers. */
export function pictureLaunches(numTiles: number): Launch[] {
  const { vision, text } = architecture;
  const chosen = visionTokens(vision, { numTiles, merged: true, allSlots: false });
  const count = chosen.tokenPlaces.length;
  const padding = count - chosen.realTokens;
  const states = chosen.stateTokens.length;
  const layers = vision.localLayers + vision.globalLayers;
  const { hiddenSize: hidden, intermediateSize: inter } = vision;
  const weights = 4 * hidden ** 2 + 2 * hidden * inter;
  const kv = text.keyValueHeads * text.headDim;
  const pairs = chosen.realTokens * count + padding * chosen.realTokens;
  return [
    {
      name: 'products',
      kind: 'vision',
      count: layers,
      bytes: weights * HALF + 14 * count * hidden * HALF,
      operations: 2 * count * weights,
    },
    {
      name: 'attention',
      kind: 'attention',
      count: layers,
      bytes: 4 * count * hidden * HALF,
      operations: 4 * pairs * hidden,
    },
    { name: 'norms, sums', kind: 'elementwise', count: 4 * layers, bytes: 3 * count * hidden * FLOAT, operations: 0 },
    {
      name: 'projector',
      kind: 'vision',
      count: 1,
      bytes: vision.outputDim * text.hiddenSize * HALF,
      operations: 2 * states * vision.outputDim * text.hiddenSize,
    },
    {
      name: 'cross K/V',
      kind: 'int4',
      count: 2 * text.crossAttentionLayers.length,
      bytes: text.hiddenSize * kv * 0.5 + states * (text.hiddenSize + kv) * HALF,
      operations: 2 * states * text.hiddenSize * kv,
    },
  ];
}

/** Whatever takes longer, memory or arithmetic, and the start of each launch. */
export function secondsOf({ kind, count, bytes, operations }: Launch, board: Board): number {
  const { memory, compute } = EFFICIENCY[kind];
  const reading = bytes / (board.gigabytesPerSecond * 1e9 * memory);
  const computing = operations / (board.teraflops * 1e12 * compute);
  return count * (Math.max(reading, computing) + EFFICIENCY.launchSeconds);
}

export function totalSeconds(launches: readonly Launch[], board: Board): number {
  return launches.reduce((sum, launch) => sum + secondsOf(launch, board), 0);
}

export interface BoardForecast {
  /** One sequence, a picture of four tiles, 2048 tokens before. */
  readonly tokensPerSecond: number;
  /** Eight times the same step side by side would read the weights once: rows 4 of one launch. */
  readonly batch4Speedup: number;
  /** From pixels to the first token, by used tiles. */
  readonly firstTokenSeconds: readonly { readonly tiles: number; readonly seconds: number }[];
}

export function forecastBoard(board: Board): BoardForecast {
  const keysOf = (tiles: number) => tiles * visionGeometry(architecture.vision).tokensPerTile;
  const one = totalSeconds(decoderLaunches(1, 2048, keysOf(4)), board);
  // Caches are each sequence's own: attention is paid four times.
  const four = decoderLaunches(4, 2048, keysOf(4), 4).map((launch) =>
    launch.kind === 'attention' ? { ...launch, count: 4 * launch.count, operations: launch.operations / 4 } : launch,
  );
  return {
    tokensPerSecond: 1 / one,
    batch4Speedup: (4 * one) / totalSeconds(four, board),
    firstTokenSeconds: [1, 2, 3, 4].map((tiles) => ({
      tiles,
      seconds:
        totalSeconds(pictureLaunches(tiles), board) +
        totalSeconds(decoderLaunches(PROMPT_TOKENS, 0, keysOf(tiles)), board),
    })),
  };
}

function table(title: string, launches: readonly Launch[], board: Board): string[] {
  const rows = launches.map((launch) => {
    const { name, kind, count, bytes, operations } = launch;
    const figures = [
      `${count} ×`,
      `${((bytes * count) / 1e9).toFixed(3)} GB`,
      `${((operations * count) / 1e12).toFixed(3)} TFLOP`,
      `${(secondsOf(launch, board) * 1e3).toFixed(2)} ms`,
    ];
    return `  ${name.padEnd(16)} ${kind.padEnd(12)} ${figures.map((figure) => figure.padStart(13)).join('')}`;
  });
  return [`${title}: ${(totalSeconds(launches, board) * 1e3).toFixed(1)} ms`, ...rows];
}

export function forecastLines(board: Board): string[] {
  const { tokensPerSecond, batch4Speedup, firstTokenSeconds } = forecastBoard(board);
  return [
    `${board.name}: ${board.gigabytesPerSecond} GB/s, ${board.teraflops.toFixed(1)} TFLOPS in float16. Predicted, not measured.`,
    ...table('A token at 2048 past with a picture of four tiles', decoderLaunches(1, 2048, 6404), board),
    ...table(`Prefill of ${PROMPT_TOKENS} tokens`, decoderLaunches(PROMPT_TOKENS, 0, 6404), board),
    ...table('A picture of four tiles', pictureLaunches(4), board),
    `Decode: ${tokensPerSecond.toFixed(1)} tokens/s; batch 4: ${batch4Speedup.toFixed(2)} ×`,
    ...firstTokenSeconds.map(({ tiles, seconds }) => `First token, ${tiles} used tile(s): ${seconds.toFixed(2)} s`),
  ];
}

/** `npm run bench -- jetson-forecast --board NAME` */
export function runJetsonForecast(args: readonly string[]): number {
  const { values } = parseArgs({ args: [...args], options: { board: { type: 'string' } } });
  const wanted = values.board === undefined ? Object.values(BOARDS) : [BOARDS[values.board]];
  if (wanted.some((board) => board === undefined)) {
    console.error(`Expected --board as one of ${Object.keys(BOARDS).join(', ')} but received ${values.board}.`);
    return 2;
  }
  for (const board of wanted) console.log(`${forecastLines(board!).join('\n')}\n`);
  return 0;
}
