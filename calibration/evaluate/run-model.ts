import { join } from 'node:path';
import { decodeImage } from '#sdk/image/index.js';
import type { VisionLanguageModel } from '#sdk/model/types.js';
import type { Question, Scene } from './scenes.js';
import { Scores } from './scores.js';

export interface WrongAnswer {
  readonly image: string;
  readonly question: string;
  readonly expected: string;
  readonly said: string;
}

export interface EvaluationOptions {
  readonly signal?: AbortSignal | undefined;
  /** After every scene. */
  readonly onScene?: ((done: number, total: number) => void) | undefined;
  /** Every question whose answer is not the reference to the letter; that need not make it wrong. */
  readonly onDifference?: ((answer: WrongAnswer) => void) | undefined;
}

/** Asks every question of every scene, greedily. The model keeps a picture's features, so each is encoded once. */
export async function evaluateModel(
  model: VisionLanguageModel,
  scenes: readonly Scene[],
  folder: string,
  options: EvaluationOptions = {},
): Promise<Scores> {
  const scores = new Scores();
  for (const [index, scene] of scenes.entries()) {
    const image = await decodeImage(join(folder, scene.image), { signal: options.signal });
    for (const question of scene.questions) await ask(model, image, scene, question, scores, options);
    options.onScene?.(index + 1, scenes.length);
  }
  return scores;
}

async function ask(
  model: VisionLanguageModel,
  image: Awaited<ReturnType<typeof decodeImage>>,
  scene: Scene,
  question: Question,
  scores: Scores,
  options: EvaluationOptions,
): Promise<void> {
  const answer = await model.ask(image, question.question, {
    temperature: 0,
    maxNewTokens: 256,
    signal: options.signal,
  });
  scores.add(scene, question, answer);
  if (answer.text.trim() === question.reference) return;
  const { question: asked, reference: expected } = question;
  options.onDifference?.({ image: scene.image, question: asked, expected, said: answer.text });
}
