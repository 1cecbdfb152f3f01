/** Checks of what callers give an engine, the same for every backend. */
import type { MllamaArchitecture, TextArchitecture, VisionArchitecture } from '../../architecture/architecture.js';
import { visionGeometry } from '../../architecture/vision-tokens.js';
import { SdkError } from '../../core/errors.js';
import { selfAttentionLayers } from '../../graph/index.js';
import type { ProcessedImage } from '../../image/processed-image.js';
import { branchedLength, type EngineInfo, type HeadId, type SliceOptions } from '../engine.js';

function invalid(message: string, details?: Readonly<Record<string, unknown>>): SdkError {
  return new SdkError('ERR_ARGUMENT_INVALID', message, { details });
}

const DEFAULT_CONTEXT_LENGTH = 4096;

export function checkCount(name: string, value: number | undefined, most: number): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= most)) return value;
  throw invalid(`Expected ${name} as a whole number of 1 to ${most} but received ${value}.`);
}

/** The caller's wish, else 4096 or what the model was made for. */
export function resolveContextLength(wanted: number | undefined, text: TextArchitecture): number {
  const most = text.maxPositionEmbeddings;
  return checkCount('contextLength', wanted, most) ?? Math.min(DEFAULT_CONTEXT_LENGTH, most);
}

/** Self-attention K/V of one token; `numberBytes` of one of its numbers. */
export function keyValueBytesPerToken(text: TextArchitecture, numberBytes: number): number {
  return selfAttentionLayers(text).length * 2 * text.keyValueHeads * text.headDim * numberBytes;
}

export function checkProcessedImage(image: ProcessedImage, vision: VisionArchitecture): void {
  const { pixelValues, aspectRatioId, numTiles } = image;
  const size = vision.maxNumTiles * 3 * vision.tileSize ** 2;
  if (!(pixelValues instanceof Float32Array) || pixelValues.length !== size) {
    const shape = `[${vision.maxNumTiles}, 3, ${vision.tileSize}, ${vision.tileSize}]`;
    throw invalid(`Expected pixelValues as ${size} float32 values ${shape}, but received ${pixelValues?.length}.`);
  }
  const ids = vision.supportedAspectRatios.length;
  if (!Number.isInteger(aspectRatioId) || aspectRatioId < 0 || aspectRatioId > ids) {
    throw invalid(`Expected an aspectRatioId of 0 to ${ids} but received ${aspectRatioId}.`);
  }
  if (!Number.isInteger(numTiles) || numTiles < 1 || numTiles > vision.maxNumTiles) {
    throw invalid(`Expected numTiles of 1 to ${vision.maxNumTiles} but received ${numTiles}.`);
  }
}

export interface ForwardContext {
  readonly info: EngineInfo;
  readonly architecture: MllamaArchitecture;
  /** Tokens in the sequence so far. */
  readonly length: number;
}

/** @throws SdkError ERR_CONTEXT_OVERFLOW, ERR_ARGUMENT_INVALID; nothing has happened then. */
export function checkForward(context: ForwardContext, tokens: Int32Array, options: SliceOptions): void {
  if (!(tokens instanceof Int32Array) || tokens.length === 0) {
    throw invalid('Expected at least one token as an Int32Array but received none.');
  }
  const { contextLength } = context.info;
  const needed = context.length + tokens.length;
  if (needed > contextLength) {
    throw new SdkError(
      'ERR_CONTEXT_OVERFLOW',
      `Expected at most ${contextLength} tokens in a sequence, but it holds ${context.length} and ${tokens.length} more were given. Shorten the prompt or open the model with a larger contextLength.`,
      { details: { contextLength, length: context.length, added: tokens.length } },
    );
  }
  const rows = context.architecture.text.embeddingRows;
  const unknown = tokens.findIndex((token) => token < 0 || token >= rows);
  if (unknown !== -1) {
    throw invalid(`Expected token ids of 0 to ${rows - 1} but received ${tokens[unknown]} at index ${unknown}.`);
  }
  if (options.attention !== undefined) checkAttention(context, tokens.length, options);
  if (options.branches !== undefined) checkBranches(context, tokens.length, options);
  let previous = -1;
  for (const { tokenIndex } of options.images) {
    if (!Number.isInteger(tokenIndex) || tokenIndex <= previous) {
      throw invalid(`Expected images in rising order of tokenIndex, but ${tokenIndex} follows ${previous}.`);
    }
    previous = tokenIndex;
  }
}

function checkBranches({ info, length }: ForwardContext, count: number, options: SliceOptions): void {
  const { contextLength, capabilities } = info;
  const branches = options.branches!;
  const most = capabilities.branchTokens;
  if (most === 0) throw invalid(`Expected one text at a time: the ${info.backend} engine computes no alternatives.`);
  const sum = branches.reduce((total, tokens) => total + tokens, 0);
  if (!branches.every((tokens) => Number.isInteger(tokens) && tokens >= 1) || sum !== count || sum > most) {
    throw invalid(
      `Expected alternatives of at least one token, together the ${count} of the call and at most ${most}, but received lengths ${branches.join(', ') || 'of none'}.`,
    );
  }
  if (options.logits !== 'all' || options.attention !== undefined)
    throw invalid('Expected alternatives with logits of all tokens and without attention.');
  if (length === 0 || options.images.some(({ tokenIndex }) => tokenIndex >= length))
    throw invalid('Expected alternatives behind the tokens and images of a sequence.');
  const needed = branchedLength(length, branches);
  if (needed > contextLength) {
    throw new SdkError(
      'ERR_CONTEXT_OVERFLOW',
      `Expected at most ${contextLength} tokens in a sequence, but ${length} and alternatives take ${needed}.`,
      { details: { contextLength, length, added: needed - length } },
    );
  }
}

/** Weights that one slice may ask for: 256 MiB. */
const MAX_ATTENTION_WEIGHTS = 2 ** 26;

function checkAttention({ info, architecture }: ForwardContext, count: number, options: SliceOptions): void {
  const { heads, tokens } = options.attention!;
  if (!info.capabilities.attentionTaps) {
    throw invalid(
      `Expected a request without attention: the ${info.backend} engine was opened without it. Open it with attentionTaps: true.`,
    );
  }
  const { crossAttentionLayers, attentionHeads } = architecture.text;
  const isHead = ({ layer, head }: HeadId) =>
    crossAttentionLayers.includes(layer) && Number.isInteger(head) && head >= 0 && head < attentionHeads;
  const wrong = heads.find((each) => !isHead(each));
  const names = heads.map(({ layer, head }) => `${layer}.${head}`);
  if (wrong !== undefined || heads.length === 0 || new Set(names).size !== heads.length) {
    throw invalid(
      `Expected attention of different heads 0 to ${attentionHeads - 1} of layers ${crossAttentionLayers.join(', ')}, but received ${names.join(', ') || 'none'}.`,
    );
  }
  const rises = tokens.every((token, i) => Number.isInteger(token) && token > (tokens[i - 1] ?? -1) && token < count);
  if (tokens.length === 0 || !rises) {
    throw invalid(
      `Expected attention of tokens in rising order from 0 to ${count - 1}, but received ${tokens.join(', ') || 'none'}.`,
    );
  }
  if (options.images.length === 0) {
    throw invalid('Expected images with a request for attention, which is over images, but received none.');
  }
  const visionTokens = visionTokensOf(options, architecture.vision);
  if (heads.length * tokens.length * visionTokens > MAX_ATTENTION_WEIGHTS) {
    throw new SdkError(
      'ERR_LIMIT_EXCEEDED',
      `Expected at most ${MAX_ATTENTION_WEIGHTS} attention weights of a slice but ${heads.length} heads of ${tokens.length} tokens over ${visionTokens} vision tokens were asked for. Ask for fewer heads or tokens at a time.`,
    );
  }
}

/** Vision tokens that `AttentionWeights` are over. */
export function visionTokensOf({ images }: Pick<SliceOptions, 'images'>, vision: VisionArchitecture): number {
  const { tokensPerTile } = visionGeometry(vision);
  return images.reduce((sum, { image }) => sum + image.numTiles * tokensPerTile, 0);
}
