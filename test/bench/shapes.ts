/** Sizes of published models. The weights of a benchmark are random; time does not depend on their values. */
import type { MllamaArchitecture, TextArchitecture } from '#graph/architecture.js';

const llama3: Pick<
  TextArchitecture,
  'crossAttentionLayers' | 'rmsNormEps' | 'ropeTheta' | 'ropeScaling' | 'maxPositionEmbeddings'
> = {
  crossAttentionLayers: [],
  rmsNormEps: 1e-5,
  ropeTheta: 500_000,
  ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 },
  maxPositionEmbeddings: 131_072,
};

/** Text decoders alone: what the cross layers add is the same kind of work. */
export const TEXT_SHAPES = {
  '1b': {
    ...llama3,
    hiddenSize: 2048,
    layers: 16,
    attentionHeads: 32,
    keyValueHeads: 8,
    headDim: 64,
    intermediateSize: 8192,
    vocabularySize: 128_256,
    embeddingRows: 128_264,
  },
  '8b': {
    ...llama3,
    hiddenSize: 4096,
    layers: 32,
    attentionHeads: 32,
    keyValueHeads: 8,
    headDim: 128,
    intermediateSize: 14_336,
    vocabularySize: 128_256,
    embeddingRows: 128_264,
  },
} as const satisfies Record<string, TextArchitecture>;

export type ShapeName = keyof typeof TEXT_SHAPES;

/** The vision part is never opened; its sizes only make the type whole. */
export function architectureOf(shape: ShapeName): MllamaArchitecture {
  return {
    text: TEXT_SHAPES[shape],
    vision: {
      tileSize: 56,
      patchSize: 14,
      maxNumTiles: 4,
      hiddenSize: 64,
      attentionHeads: 4,
      intermediateSize: 128,
      localLayers: 1,
      globalLayers: 1,
      intermediateLayersIndices: [],
      normEps: 1e-5,
      outputDim: 64,
      supportedAspectRatios: [[1, 1]],
    },
    imageTokenId: 128_256,
  };
}

/** The 11B model's vision tower with fewer layers, and next to no text. */
export function visionArchitecture(localLayers: number): MllamaArchitecture {
  const text = {
    ...llama3,
    hiddenSize: 256,
    layers: 1,
    attentionHeads: 4,
    keyValueHeads: 2,
    headDim: 64,
    intermediateSize: 256,
    vocabularySize: 256,
    embeddingRows: 264,
  };
  const vision = {
    tileSize: 560,
    patchSize: 14,
    maxNumTiles: 4,
    hiddenSize: 1280,
    attentionHeads: 16,
    intermediateSize: 5120,
    localLayers,
    globalLayers: 0,
    intermediateLayersIndices: [],
    normEps: 1e-5,
    outputDim: 1280,
    supportedAspectRatios: [
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 4],
      [2, 1],
      [2, 2],
      [3, 1],
      [4, 1],
    ],
  } as const;
  return { text, vision, imageTokenId: 256 };
}
