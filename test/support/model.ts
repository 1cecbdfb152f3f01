/** A whole model over the fake engine and the tiny tokenizer: everything above the engine border is the product's. */
import { silentLogger } from '#sdk/core/logger.js';
import { createTextGrounder } from '#sdk/grounding/text-grounder.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';
import type { ModelImage, VisionLanguageModel } from '#sdk/model/types.js';
import { createModel, type ModelParts } from '#sdk/model/vision-language-model.js';
import { loadChatTemplate } from '#sdk/text/chat-template.js';
import { loadTokenizer, type Tokenizer } from '#sdk/text/tokenizer.js';
import { FakeEngine, type FakeEngineInfo, type NextToken, scripted } from './engine.js';
import { writeTokenizerFolder } from './tiny-tokenizer.js';

export interface FakeModel {
  readonly model: VisionLanguageModel;
  readonly engine: FakeEngine;
  readonly tokenizer: Tokenizer;
}

export interface FakeModelOptions {
  /** What the model writes in every answer, or how it chooses tokens. */
  readonly writes: string | ((tokenizer: Tokenizer) => NextToken);
  readonly engineInfo?: FakeEngineInfo;
  readonly parts?: Partial<ModelParts>;
}

export const HEADER = '<|start_header_id|>assistant<|end_header_id|>\n\n';

export function greedy(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/** A picture of one colour. */
export function plainImage(value: number, width = 100, height = 50): ModelImage {
  return { width, height, format: 'rgb8', data: new Uint8Array(width * height * 3).fill(value) };
}

export function processed(image: ModelImage): ProcessedImage {
  return {
    pixelValues: new Float32Array(0),
    aspectRatioId: 1,
    numTiles: 1,
    geometry: {
      sourceWidth: image.width,
      sourceHeight: image.height,
      resizedWidth: image.width,
      resizedHeight: image.height,
      canvasWidth: image.width,
      canvasHeight: image.height,
      tileSize: 56,
    },
  };
}

export async function createFakeModel(options: FakeModelOptions): Promise<FakeModel> {
  const directory = await writeTokenizerFolder();
  const tokenizer = await loadTokenizer(directory);
  const eot = tokenizer.specialTokenId('<|eot_id|>')!;
  const next =
    typeof options.writes === 'string'
      ? scripted(tokenizer.encodeTemplate(HEADER), tokenizer.encodeText(options.writes), eot)
      : options.writes(tokenizer);
  const engine = new FakeEngine(next, options.engineInfo);
  const model = createModel({
    info: {
      name: 'fake',
      contentHash: '00',
      engine: engine.info,
      writesBoxes: true,
      locates: true,
      prompts: { describe: 'Describe.', list: 'List.', locate: 'Where is the {label}?' },
      notices: [],
    },
    engine,
    verifyPrompt: 'Is there a {label}?',
    tokenizer,
    template: await loadChatTemplate(directory, tokenizer),
    processor: { process: async (image) => processed(image) },
    sampling: {
      doSample: false,
      temperature: 1,
      topP: 1,
      eosTokenIds: [eot, tokenizer.specialTokenId('<|end_of_text|>')!],
    },
    createSampler: () => greedy,
    grounder: createTextGrounder({
      format: 'json',
      labelKey: 'label',
      boxKey: 'box',
      order: 'xyxy',
      scale: 100,
      relativeTo: 'longer-side',
      bin: 'edge',
    }),
    imageCache: { maxImages: 4, maxBytes: 1e9 },
    logger: silentLogger,
    ...options.parts,
  });
  return { model, engine, tokenizer };
}
