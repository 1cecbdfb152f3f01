/** What a model is calibrated with: pictures, what is asked about them, and answers where they are known. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { type Logger, silentLogger } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { createImageProcessor, decodeImage } from '#sdk/image/index.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';
import { checkTokenizerFits } from '#sdk/model/load-model.js';
import { loadChatTemplate } from '#sdk/text/chat-template.js';
import { renderPrompt } from '#sdk/text/prompt.js';
import { loadTokenizer } from '#sdk/text/tokenizer.js';
import { MAX_QUESTIONS, MAX_SCENES } from './option-values.js';

/** One prompt about one picture, with its answer. */
export interface CalibrationSample {
  readonly tokens: Int32Array;
  /** Index of the image token in `tokens`. */
  readonly imageTokenIndex: number;
  /** First token of the answer; `tokens.length` when there is none. */
  readonly answerStart: number;
}

/** A picture and all that is asked about it. */
export interface CalibrationScene {
  /** Decoded when it is needed, so that pictures never lie in memory together. */
  image(options?: CallOptions): Promise<ProcessedImage>;
  readonly samples: readonly CalibrationSample[];
}

interface SceneText {
  readonly image: string;
  readonly questions: readonly { readonly prompt: string; readonly answer?: string | undefined }[];
}

const lineSchema = z.union([
  z
    .object({ image: z.string().min(1), prompt: z.string().min(1), answer: z.string().optional() })
    .transform(({ image, prompt, answer }) => ({ image, questions: [{ prompt, answer }] })),
  z
    .object({
      image: z.string().min(1),
      questions: z.array(z.object({ question: z.string().min(1), reference: z.string().optional() })).min(1),
    })
    .transform(({ image, questions }) => ({
      image,
      questions: questions.map(({ question, reference }) => ({ prompt: question, answer: reference })),
    })),
]);

/**
 * @param place A folder of pictures, asked with the model's own describe, list and locate prompts; or a file with a
 * line of JSON for each picture, paths relative to it: `{"image", "prompt", "answer"?}` or `{"image", "questions":
 * [{"question", "reference"?}]}`. With answers the model is also calibrated on what it writes itself. Of more than 64
 * pictures or 8 questions the first are taken, with a warning.
 * @throws SdkError ERR_ARGUMENT_INVALID naming the line; the errors of decoding and of the tokenizer
 */
export async function readCalibration(
  place: string,
  checkpoint: Checkpoint,
  options: { readonly first?: number; readonly count?: number; readonly logger?: Logger } = {},
): Promise<CalibrationScene[]> {
  const info = await stat(place).catch((cause: unknown) => {
    throw invalid(`Expected calibration pictures at ${place}: a folder or a .jsonl file, but there is none.`, cause);
  });
  const all = info.isDirectory() ? await scenesOfFolder(place, checkpoint) : await scenesOfFile(place);
  const { first = 0, count = all.length, logger = silentLogger } = options;
  const wanted = all.slice(first, first + count);
  const texts = wanted.slice(0, MAX_SCENES);
  if (wanted.length > MAX_SCENES) {
    logger.log('warn', `Of ${wanted.length} pictures in ${place} the first ${MAX_SCENES} are used to calibrate.`);
  }
  const long = texts.filter(({ questions }) => questions.length > MAX_QUESTIONS).length;
  if (long > 0) {
    logger.log('warn', `Of ${long} pictures in ${place} the first ${MAX_QUESTIONS} questions are used to calibrate.`);
  }
  if (texts.length === 0) throw invalid(`Expected pictures to calibrate with in ${place}, but found none.`);

  const tokenizer = await loadTokenizer(checkpoint.directory);
  checkTokenizerFits(tokenizer, checkpoint);
  const template = await loadChatTemplate(checkpoint.directory, tokenizer);
  const processor = createImageProcessor(checkpoint.processor);
  const limit = checkpoint.model.architecture.text.maxPositionEmbeddings;
  return texts.map(({ image, questions }) => ({
    image: async (options) => processor.process(await decodeImage(image, options)),
    samples: questions.slice(0, MAX_QUESTIONS).map(({ prompt, answer = '' }) => {
      const { ids, imagePositions } = renderPrompt(template, tokenizer, [
        { role: 'user', parts: [{ type: 'image' }, { type: 'text', text: prompt }] },
      ]);
      const tokens = Int32Array.from([...ids, ...tokenizer.encodeText(answer)]).slice(0, Math.min(limit, 2048));
      return { tokens, imageTokenIndex: imagePositions[0]!, answerStart: Math.min(ids.length, tokens.length) };
    }),
  }));
}

/** Of all prompts and answers together: what lies between layers for each is in memory, 512 MB of the 11B model. */
const MAX_TOKENS = 32_768;

/** As many questions as fit, in the order first of each scene, second of each …; long ones are cut. */
export function boundedScenes(
  scenes: readonly CalibrationScene[],
  maxTokens = MAX_TOKENS,
): readonly CalibrationScene[] {
  const longest = Math.max(1, Math.floor(maxTokens / scenes.length));
  const cut = scenes.map(({ samples }) =>
    samples.map((sample) => ({ ...sample, tokens: sample.tokens.slice(0, longest) })),
  );
  const kept = scenes.map((): CalibrationSample[] => []);
  let left = maxTokens;
  for (let question = 0; question < Math.max(...cut.map((samples) => samples.length)); question += 1) {
    for (const [scene, samples] of cut.entries()) {
      const sample = samples[question];
      if (sample === undefined || sample.tokens.length > left || sample.imageTokenIndex >= longest) continue;
      kept[scene]!.push({ ...sample, answerStart: Math.min(sample.answerStart, sample.tokens.length) });
      left -= sample.tokens.length;
    }
  }
  return scenes.map((scene, index) => ({ image: (options) => scene.image(options), samples: kept[index]! }));
}

/** Scenes beside a checkpoint, as the demo model has them. */
export async function defaultCalibration(source: string): Promise<string | undefined> {
  const file = join(dirname(resolve(source)), 'evaluation', 'scenes.jsonl');
  return (await stat(file).catch(() => undefined))?.isFile() ? file : undefined;
}

async function scenesOfFolder(folder: string, { manifest }: Checkpoint): Promise<SceneText[]> {
  const names = (await readdir(folder)).filter((name) => /\.(jpe?g|png|webp)$/i.test(name)).sort();
  const { describe, list, locate } = manifest.prompts;
  const questions = [describe, list, locate.replaceAll('{label}', 'object')].map((prompt) => ({ prompt }));
  return names.map((name) => ({ image: join(folder, name), questions }));
}

async function scenesOfFile(file: string): Promise<SceneText[]> {
  const lines = (await readFile(file, 'utf8')).split('\n');
  return lines.flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      const scene = lineSchema.parse(JSON.parse(line));
      return [{ ...scene, image: resolve(dirname(file), scene.image) }];
    } catch (cause) {
      const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
      throw invalid(
        `Expected {"image", "prompt", "answer"?} or {"image", "questions"} in line ${index + 1} of ${file}: ${reason}`,
        cause,
      );
    }
  });
}

function invalid(message: string, cause?: unknown): SdkError {
  return new SdkError('ERR_ARGUMENT_INVALID', message, { cause });
}
