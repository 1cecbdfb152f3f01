import type { Answer, GroundedObject, ModelImage, ModelInfo } from 'scenebus';
import type { Terminal } from './terminal.js';

export interface AnswerOutput {
  /** The file or frame that the answer is about. */
  readonly source: string;
  readonly question?: string | undefined;
  readonly image: Pick<ModelImage, 'width' | 'height'>;
  readonly answer: Answer;
  readonly model: ModelInfo;
  readonly asJson: boolean;
}

/** The answer for people, or one line of JSON for programs. */
export function printAnswer(
  { source, question, image, answer, model, asJson }: AnswerOutput,
  terminal: Terminal,
): void {
  const { width, height } = image;
  if (asJson) {
    const head = { source, image: { width, height }, ...(question === undefined ? {} : { question }) };
    terminal.out(JSON.stringify({ ...head, ...answer, model: { id: model.name, hash: model.contentHash } }));
    return;
  }
  terminal.out(`${terminal.paint('dim', `${source}:`)} ${answer.sentence ?? answer.text}`);
  for (const object of answer.objects) terminal.out(`  ${describeObject(object, terminal)}`);
  for (const notice of answer.notices ?? []) terminal.note(notice);
  if (answer.finishReason === 'length') terminal.note('the answer was cut off at the token limit');
}

/** `red cup  [30, 273, 187, 399]  score 0.97 (text)` */
export function describeObject(object: Omit<GroundedObject, 'box'>, { paint }: Pick<Terminal, 'paint'>): string {
  const box = `[${object.boxPixels.join(', ')}]`;
  const verdict = object.verified === undefined ? '' : object.verified ? ', verified' : ', refuted';
  return `${paint('green', object.label)}  ${box}  score ${object.score.toFixed(2)} (${object.source}${verdict})`;
}
