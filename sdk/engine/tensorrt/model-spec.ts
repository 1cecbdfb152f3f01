/** From the manifest of lowered graphs to what the addon is asked to open. Pure. */
import path from 'node:path';
import type { ModelDescription } from '../../architecture/architecture.js';
import { visionGeometry } from '../../architecture/vision-tokens.js';
import { SdkError } from '../../core/errors.js';
import type { Binding, LoweredEngine, LoweredGraphName, ProfileRange } from '../../graph/tensorrt/index.js';
import type {
  TensorRtBinding,
  TensorRtModelSpec,
  TensorRtProfile,
  TensorRtRole,
  TensorRtStage,
  TensorRtType,
} from './addon-types.js';
import type { LoweredCheckpoint } from './lowering.js';
import { decoderWeightBytes, IMAGES_AT_ONCE, visionWeightBytes } from './memory-forecast.js';

/** Scratch that a tactic may use: more only helps products that a Jetson has no memory for anyway. */
const WORKSPACE_BYTES = 2 ** 30;
/** TensorRT's default. */
const OPTIMIZATION_LEVEL = 3;
/** Stays free for the system beside the model, which shares its memory on a Jetson. */
const RESERVE_BYTES = 256 * 2 ** 20;
/**
 * `separate`: engines for prefill and decode, each with and without cross-attention. Their plans hold no int4 weights,
 * so four of them cost little.
 * `single`: one decoder for everything, because each plan would hold all weights again: native mode, and checkpoints
 * that are not int4. Text alone then looks at a blank picture whose results are dropped.
 */
export type DecoderLayout = 'separate' | 'single';

/**
 * `separate`: a decoder for text alone and one with cross-attention. Only int4 weights that our plugin reads can be
 * shared by two.
 */
function decoderLayout({ mode, manifest }: Pick<LoweredCheckpoint, 'mode' | 'manifest'>): DecoderLayout {
  const isInt4 = manifest.weights.some(({ name }) => name.endsWith('.weight_packed'));
  return mode === 'plugin' && isInt4 ? 'separate' : 'single';
}

/** The stage's name where one decoder serves text and images. */
export const SINGLE_DECODER = 'decoder';

type PlannedEngine = Omit<LoweredEngine, 'name'> & {
  readonly name: LoweredEngine['name'] | typeof SINGLE_DECODER | `${typeof SINGLE_DECODER}-queries`;
};

/** Whichever of the plans for a place in the model is taken. */
function stageName({ name, graph }: PlannedEngine): string {
  return graph === 'vision' ? 'vision' : name.replace(/-queries$/, '');
}

export interface ModelSpecOptions {
  /** Not every image's unused slots are merged: the vision plan takes more tokens then. */
  readonly fullVision?: boolean | undefined;
  /** Decoders that look at images also give their queries. Other plans, for the same stages. */
  readonly attentionTaps?: boolean | undefined;
  /** Without any decoder. */
  readonly onlyVision?: boolean | undefined;
}

/** What the addon opens: stages with their plans, what of memory each needs, and how they are wired. */
export function modelSpec(
  name: string,
  model: ModelDescription,
  lowered: LoweredCheckpoint,
  { fullVision = false, attentionTaps = false, onlyVision = false }: ModelSpecOptions = {},
): TensorRtModelSpec {
  const { manifest } = lowered;
  const { text, vision, engines } = manifest;
  const withImages = text.crossAttentionLayers.length > 0;
  const wanted = engines.filter(({ graph }) => graph !== (attentionTaps ? 'decoder' : 'decoder-queries'));
  const chosen: readonly PlannedEngine[] = decoderLayout(lowered) === 'separate' ? wanted : singleDecoder(wanted);
  const stages = chosen
    .filter(({ graph }) => withImages || graph === 'decoder-text')
    .filter(({ graph }) => !onlyVision || graph === 'vision' || graph === 'cross-kv')
    .filter(({ name: engine }) => engine !== (fullVision ? 'vision' : 'vision-full'))
    .map((engine) => stageOf(engine, lowered, expectedBytes(engine, model)));
  const taken = new Set(stages.flatMap(({ bindings }) => bindings.filter(isWeight).map((binding) => binding.name)));
  const { tokensPerTile } = visionGeometry(vision);
  return {
    name,
    stages,
    encode: withImages ? ['vision', 'cross-kv'] : [],
    weights: manifest.weights.filter((weight) => taken.has(weight.name)),
    sequences: 1,
    images: withImages ? IMAGES_AT_ONCE : 0,
    imagePositions: withImages ? vision.maxNumTiles * tokensPerTile : 0,
    reserveBytes: RESERVE_BYTES,
  };
}

function isWeight({ role }: TensorRtBinding): boolean {
  return role === 'weight';
}

/** Most calls decode one token, so that is what it is made fastest for. */
function singleDecoder(engines: readonly LoweredEngine[]): PlannedEngine[] {
  return engines
    .filter((engine) => stageName(engine) !== 'decode' && engine.graph !== 'decoder-text')
    .map((engine): PlannedEngine => {
      if (stageName(engine) !== 'prefill') return engine;
      const tokens = { ...engine.profile.R!, opt: 1 };
      const name = engine.graph === 'decoder' ? SINGLE_DECODER : (`${SINGLE_DECODER}-queries` as const);
      return { ...engine, name, profile: { ...engine.profile, R: tokens } };
    });
}

function stageOf(engine: PlannedEngine, lowered: LoweredCheckpoint, expected: number): TensorRtStage {
  const { manifest, mode, directory, weightsIdentity } = lowered;
  const { inputs, outputs } = manifest.graphs[engine.graph];
  const weights = lowered.weightInputs(engine.graph).map((input): TensorRtBinding => {
    const weight = manifest.weights.find(({ name }) => name === input);
    if (weight === undefined) throw mismatch(`the manifest does not say where ${input} of ${engine.graph} lies`);
    const { type, shape } = weight;
    return { name: input, role: 'weight', type: typeOf(type, input), shape, maxShape: shape };
  });
  return {
    name: stageName(engine),
    plan: {
      name: engine.name,
      graph: lowered.graphFile(engine.graph),
      weightsRoot: manifest.weightsRoot,
      plan: path.join(directory, `${engine.name}.${mode}.plan`),
      weightsIdentity,
      expectedBytes: expected,
      plugins: mode === 'plugin' && usesPlugins(engine.graph),
      profile: inputs.filter(isVariable).map((binding) => profileOf(binding, engine)),
      workspaceBytes: WORKSPACE_BYTES,
      optimizationLevel: OPTIMIZATION_LEVEL,
    },
    bindings: [
      ...inputs.map((binding) => bindingOf(binding, engine, 'input')),
      ...weights,
      ...outputs.map((binding) => bindingOf(binding, engine, 'output')),
    ],
    // The same shapes and addresses come again with every token; an image's do not.
    captured: ['decode', 'decode-text', SINGLE_DECODER].includes(stageName(engine)),
  };
}

/** Plans hold what their graphs hold of weights. Of those in plugin mode that is next to nothing. */
function expectedBytes(engine: PlannedEngine, model: ModelDescription): number {
  if (engine.graph === 'vision') return visionWeightBytes(model);
  return stageName(engine) === SINGLE_DECODER ? decoderWeightBytes(model) : 0;
}

/** The vision tower has no operators of our own. */
function usesPlugins(graph: LoweredGraphName): boolean {
  return graph !== 'vision';
}

function isVariable({ shape }: Binding): boolean {
  return shape.some((side) => typeof side === 'string');
}

function profileOf(binding: Binding, engine: PlannedEngine): TensorRtProfile {
  const at = (bound: keyof ProfileRange) => shapeAt(binding, engine, bound);
  return { name: binding.name, min: at('min'), opt: at('opt'), max: at('max') };
}

function shapeAt({ name, shape }: Binding, { name: engine, profile }: PlannedEngine, bound: keyof ProfileRange) {
  return shape.map((side) => {
    if (typeof side === 'number') return side;
    const range = profile[side];
    if (range === undefined) throw mismatch(`the engine ${engine} does not bound ${side} of ${name}`);
    return range[bound];
  });
}

function bindingOf(binding: Binding, engine: PlannedEngine, side: 'input' | 'output'): TensorRtBinding {
  const { name, role, type, shape } = binding;
  const maxShape = shapeAt(binding, engine, 'max');
  return { name, role: roleOf(role, side), type: typeOf(type, name), shape, maxShape };
}

function roleOf(role: Binding['role'], side: 'input' | 'output'): TensorRtRole {
  switch (role) {
    case 'states': // out of the vision tower, into what makes keys and values of them
      return side === 'input' ? 'host' : 'output';
    case 'logits':
    case 'query':
    case 'trace':
      return 'output';
    default:
      return role;
  }
}

const TYPES: readonly string[] = ['float32', 'float16', 'bfloat16', 'int32', 'int64', 'int8', 'uint8'];

function typeOf(type: Binding['type'], name: string): TensorRtType {
  if (TYPES.includes(type)) return type as TensorRtType;
  throw mismatch(`${name} is of type ${type}, which no binding can have`);
}

function mismatch(problem: string): SdkError {
  return new SdkError('ERR_ENGINE_INCOMPATIBLE', `The graphs for TensorRT are not as expected: ${problem}.`);
}
