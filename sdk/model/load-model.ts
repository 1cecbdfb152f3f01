import { type Checkpoint, openCheckpoint } from '../checkpoint/index.js';
import { SdkError } from '../core/errors.js';
import { DisposalStack } from '../core/lifecycle.js';
import { type Logger, silentLogger } from '../core/logger.js';
import { refuseUnknownOptions } from '../core/option-names.js';
import { createRandom } from '../core/random.js';
import {
  type CpuEngineOptions,
  type OpenEngineOptions,
  openCpuEngine,
  openOnnxEngine,
  openTensorRtEngine,
} from '../engine/index.js';
import { chooseGrounder, type GrounderChoice } from '../grounding/index.js';
import { createImageProcessor } from '../image/index.js';
import { sampleToken } from '../inference/sampling.js';
import { loadChatTemplate, withoutTemplate } from '../text/chat-template.js';
import { IMAGE_TOKEN } from '../text/prompt.js';
import { loadTokenizer, type Tokenizer } from '../text/tokenizer.js';
import { type Backends, openEngine } from './backends.js';
import { loadModelInProcess } from './process/process-model.js';
import type { RemoteModelOptions } from './remote/options.js';
import type { VisionLanguageModel } from './types.js';
import { createModel } from './vision-language-model.js';

/** Backend, memory, who may wait, where boxes come from; and what every backend takes. */
export interface LoadModelOptions extends OpenEngineOptions {
  /**
   * `auto` (default): the fastest that can run the model on this machine: TensorRT where it is installed, passes its
   * self-test and has the memory, else own kernels on the processor.
   */
  readonly backend?: 'auto' | 'tensorrt' | 'cpu' | 'onnx' | undefined;
  /** Numbers in the K/V caches of the cpu backend (see `CpuEngineOptions`); other backends have one kind only. */
  readonly keyValueType?: CpuEngineOptions['keyValueType'];
  /**
   * Vision features kept for further questions about the same picture. Default: at most 8 pictures and 512 MiB; one
   * picture of the 11B model takes up to 210 MB.
   */
  readonly imageCache?: { readonly maxImages?: number | undefined; readonly maxBytes?: number | undefined } | undefined;
  /**
   * `process`: the model runs in a process of its own, which may crash, hang or run out of memory without taking this one
   * along, and gives all its memory back when it is disposed or lost. Calls under way fail with ERR_ENGINE_DIED then;
   * load it again. Pictures cross by shared memory. `none` (default): in this process.
   */
  readonly isolation?: 'none' | 'process' | undefined;
  /**
   * Memory for the keys and values of all requests together, those that run and those kept for what prompts share.
   * Default: 1 GiB, or as much as one whole context takes. With less a request that does not fit even alone is refused
   * (ERR_LIMIT_EXCEEDED), and one that was preempted may have to compute its tokens again.
   */
  readonly keyValueCache?: { readonly maxBytes?: number | undefined } | undefined;
  /** Requests of one priority that may wait; more are refused with ERR_BUSY. Default `LIMITS.requestQueueLength`. */
  readonly maxWaiting?: number | undefined;
  /**
   * Where the boxes of answers come from. `text`: from the answer itself, in the convention of the model's manifest.
   * `attention`: from where the model looks when it reads the name of what a question asks the place of; for models of
   * any training, once their heads that localise are in the manifest. Default `auto`: the first that the model has.
   * A `Grounder` of your own replaces it; a list gives what each of them finds.
   */
  readonly grounder?: GrounderChoice | readonly GrounderChoice[] | undefined;
  /**
   * `calibrated` (default): scores of boxes and probabilities of yes and no as probabilities, where the model's manifest
   * knows how they become ones (`scenebus calibrate-scores`). `raw`: as the model gives them.
   */
  readonly scores?: 'calibrated' | 'raw' | undefined;
  /** Whether boxes are verified where a request does not say (see `GenerateOptions.verify`). Default false. */
  readonly verify?: boolean | undefined;
}

const OPTIONS = {
  backend: true,
  keyValueType: true,
  imageCache: true,
  isolation: true,
  keyValueCache: true,
  maxWaiting: true,
  grounder: true,
  scores: true,
  verify: true,
  numerics: true,
  contextLength: true,
  threads: true,
  vision: true,
  attentionTaps: true,
  cacheDirectory: true,
  onProgress: true,
  logger: true,
  signal: true,
} satisfies Record<keyof LoadModelOptions, true>;

const BACKENDS: Backends = { tensorrt: openTensorRtEngine, cpu: openCpuEngine, onnx: openOnnxEngine };

/**
 * Loads a Hugging Face folder of the Llama-3.2-Vision architecture: weights (float or int4), tokenizer, chat template.
 * The first load of a checkpoint prepares files in the cache directory. Dispose the model when done.
 *
 * @throws SdkError ERR_MODEL_NOT_FOUND, ERR_MODEL_INVALID (all problems at once), ERR_MODEL_UNSUPPORTED,
 * ERR_TOKENIZER_INVALID, ERR_ENGINE_INCOMPATIBLE, ERR_NATIVE_UNAVAILABLE, ERR_ENGINE_OUT_OF_MEMORY. Nothing stays
 * open after a failure.
 *
 * @example
 * await using model = await loadModel('examples/demo-model/checkpoint');
 * const answer = await model.ask(frame, 'Where is the red cup?');
 * console.log(answer.text, answer.objects);
 */
export function loadModel(directory: string, options?: LoadModelOptions): Promise<VisionLanguageModel>;
/**
 * A model behind an OpenAI-compatible server: `info.engine.capabilities` says what it can be asked. Nothing of the addons
 * is loaded for it, but for pictures in BGR.
 *
 * @throws SdkError ERR_ARGUMENT_INVALID, ERR_CONFIG_INVALID (an address that is not safe, a key that cannot be read),
 * ERR_MODEL_NOT_FOUND, ERR_REMOTE_*, ERR_BUSY
 *
 * @example
 * const remote = { url: 'https://gpu.example/v1', model: 'llama-90b', keyFile: '/etc/scenebus/gpu.key' };
 * await using model = await loadModel({ remote: { ...remote, pictures: { send: true } } });
 */
export function loadModel(options: RemoteModelOptions): Promise<VisionLanguageModel>;
export async function loadModel(
  from: string | RemoteModelOptions,
  options: LoadModelOptions = {},
): Promise<VisionLanguageModel> {
  if (typeof from === 'object' && from !== null) {
    const { loadRemoteModel } = await import('./remote/remote-model.js');
    return await loadRemoteModel(from);
  }
  refuseUnknownOptions(options, Object.keys(OPTIONS), 'loadModel');
  const { isolation = 'none', ...others } = options;
  if (isolation === 'process') return loadModelInProcess(from, others);
  if (isolation === 'none') return loadModelOn(BACKENDS, from, others);
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected "none" or "process" for isolation but received ${JSON.stringify(isolation)}.`,
    { details: { option: 'isolation' } },
  );
}

/** @internal The same on other backends. */
export async function loadModelOn(
  backends: Backends,
  directory: string,
  options: LoadModelOptions,
): Promise<VisionLanguageModel> {
  refuseUnknownOptions(options, Object.keys(OPTIONS), 'loadModel');
  const {
    backend = 'auto',
    imageCache,
    keyValueCache,
    maxWaiting,
    grounder = 'auto',
    scores,
    verify,
    ...engineOptions
  } = options;
  checkScores(scores, verify);
  checkCount('maxWaiting', maxWaiting);
  checkCount('keyValueCache.maxBytes', keyValueCache?.maxBytes);
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  onProgress?.({ phase: 'open checkpoint', done: 0, total: 0, unit: 'steps' });
  const checkpoint = await openCheckpoint(directory, { signal });
  signal?.throwIfAborted();
  onProgress?.({ phase: 'load tokenizer', done: 0, total: 0, unit: 'steps' });
  const tokenizer = await loadTokenizer(checkpoint.directory);
  const template = await loadChatTemplate(checkpoint.directory, tokenizer);
  checkTokenizerFits(tokenizer, checkpoint);
  const processor = createImageProcessor(checkpoint.processor);
  checkHeads(checkpoint);
  const { boxes, attention, prompts: manifestPrompts } = checkpoint.manifest;
  const grounding = { name: checkpoint.name, boxes, attention, prompts: manifestPrompts };
  // What can be refused without the engine is.
  chooseGrounder(grounder, { ...grounding, attentionTaps: true });
  const contentHash = await checkpoint.identity();

  const opened = new DisposalStack();
  try {
    const logger = options.logger ?? silentLogger;
    const attentionTaps = options.attentionTaps ?? attention !== undefined;
    const notices = [withoutTemplate(template)].filter((notice) => notice !== undefined);
    for (const warning of [...checkpoint.warnings, ...notices]) logger.log('warn', `${checkpoint.name}: ${warning}`);
    const engine = opened.use(await openEngine(backends, backend, checkpoint, { ...engineOptions, attentionTaps }));
    warnOfIdle(options.keyValueType, engine.info, logger);
    signal?.throwIfAborted();
    const { manifest, generation, name } = checkpoint;
    const { verify: verifyPrompt, ...prompts } = manifest.prompts;
    const { capabilities } = engine.info;
    const chosenGrounder = chooseGrounder(grounder, { ...grounding, attentionTaps: capabilities.attentionTaps });
    const model = createModel({
      info: {
        name,
        contentHash,
        engine: engine.info,
        writesBoxes: boxes !== undefined,
        locates: boxes !== undefined || chosenGrounder.source === 'attention',
        prompts,
        notices: notices.map((notice) => `${name}: ${notice}`),
      },
      engine,
      tokenizer,
      template,
      processor,
      sampling: { ...generation, verify, eosTokenIds: stopTokenIds(generation.eosTokenIds, tokenizer) },
      createSampler: (sampling) => {
        const random = createRandom(sampling.seed);
        return (logits) => sampleToken(logits, sampling, random);
      },
      grounder: chosenGrounder,
      verifyPrompt,
      scores: scores === 'raw' ? undefined : manifest.scores,
      boxes,
      attention: capabilities.attentionTaps ? attention : undefined,
      imageCache: { maxImages: imageCache?.maxImages ?? 8, maxBytes: imageCache?.maxBytes ?? 512 * 2 ** 20 },
      keyValueCache,
      maxWaiting,
      logger,
    });
    opened.move(); // the model owns the engine now
    return model;
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

/** @throws SdkError ERR_MODEL_INVALID for heads that the model does not have */
function checkHeads({ directory, manifest, model }: Pick<Checkpoint, 'directory' | 'manifest' | 'model'>): void {
  const { crossAttentionLayers, attentionHeads } = model.architecture.text;
  const wrong = manifest.attention?.heads.find(
    ({ layer, head }) => !crossAttentionLayers.includes(layer) || head >= attentionHeads,
  );
  if (wrong === undefined) return;
  const problem = `scenebus.json: attention.heads: expected heads 0 to ${attentionHeads - 1} of layers ${crossAttentionLayers.join(', ')}, but received head ${wrong.head} of layer ${wrong.layer}`;
  throw new SdkError(
    'ERR_MODEL_INVALID',
    `${directory}: ${problem}. Find them again with scenebus calibrate-grounding.`,
    { details: { problems: [problem] } },
  );
}

/** What was asked of the K/V caches and this backend has no choice in. */
function warnOfIdle(
  type: LoadModelOptions['keyValueType'],
  { backend }: { readonly backend: string },
  logger: Logger,
): void {
  if (type === undefined || backend === 'cpu') return;
  logger.log(
    'warn',
    `keyValueType ${type} has no effect: K/V caches of the backend ${backend} have one kind of numbers`,
  );
}

function checkScores(scores: unknown, verify: unknown): void {
  const refuse = (option: string, expected: string, value: unknown) => {
    const message = `Expected ${expected} for ${option} but received ${JSON.stringify(value)}.`;
    throw new SdkError('ERR_ARGUMENT_INVALID', message, { details: { option } });
  };
  if (![undefined, 'calibrated', 'raw'].includes(scores as string | undefined))
    refuse('scores', '"calibrated" or "raw"', scores);
  if (verify !== undefined && typeof verify !== 'boolean') refuse('verify', 'true or false', verify);
}

function checkCount(name: string, value: number | undefined): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= 1)) return;
  throw new SdkError('ERR_ARGUMENT_INVALID', `Expected ${name} as a whole number from 1 but received ${value}.`);
}

/**
 * Fine-tunes of the base model end their turns with the tokenizer's `eos_token` and often leave generation_config.json
 * as it was: the answer would run on behind its end. vLLM stops there too.
 */
function stopTokenIds(configured: readonly number[], { eosTokenId }: Pick<Tokenizer, 'eosTokenId'>): number[] {
  return [...new Set(eosTokenId === undefined ? configured : [...configured, eosTokenId])];
}

/** A tokenizer of another model gives fluent nonsense; better to say so. */
export function checkTokenizerFits(
  tokenizer: Tokenizer,
  checkpoint: Pick<Checkpoint, 'directory' | 'generation' | 'model'>,
): void {
  const { imageTokenId, text } = checkpoint.model.architecture;
  const problems: string[] = [];
  const imageToken = tokenizer.specialTokenId(IMAGE_TOKEN);
  if (imageToken !== imageTokenId) {
    problems.push(
      `${IMAGE_TOKEN} is token ${imageToken ?? 'nothing'}, but config.json says image_token_index ${imageTokenId}`,
    );
  }
  if (tokenizer.vocabularySize > text.embeddingRows) {
    problems.push(`it has ${tokenizer.vocabularySize} tokens, but the model embeds ${text.embeddingRows}`);
  }
  const { bosTokenId } = checkpoint.generation;
  if (tokenizer.bosTokenId !== undefined && tokenizer.bosTokenId !== bosTokenId) {
    problems.push(`it begins text with token ${tokenizer.bosTokenId}, but the configuration says ${bosTokenId}`);
  }
  if (problems.length === 0) return;
  throw new SdkError(
    'ERR_MODEL_INVALID',
    [
      `Expected the tokenizer in ${checkpoint.directory} to belong to the model but it does not:`,
      ...problems.map((problem) => `  - ${problem}`),
      'Copy tokenizer.json and tokenizer_config.json of the same checkpoint.',
    ].join('\n'),
    { details: { problems } },
  );
}
