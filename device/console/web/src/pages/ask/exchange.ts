/** A question and what became of it, at one frame or at two. */
import type { AskEvent, AskInput } from '../../../../api/ask-schemas.js';
import type { FrameInfo } from '../../../../api/schemas.js';
import { ask } from '../../api.js';
import { messageOf } from '../../messages.js';
import type { AnswerKind } from './answer-kind.js';
import { requestPart } from './answer-kind.js';
import type { EarlierTurn, Subject } from './subject.js';

export interface Side {
  readonly subject: Subject;
  readonly camera: string | null;
  readonly run: string | undefined;
  readonly frame: FrameInfo | undefined;
  readonly text: string;
  readonly answer: Extract<AskEvent, { type: 'answer' }> | undefined;
  readonly failure: string | undefined;
}

export interface Exchange {
  readonly key: number;
  readonly question: string;
  readonly answerKind: AnswerKind;
  readonly sides: readonly Side[];
}

/** The model is told of so many: a conversation has to fit into its context. */
const TOLD_TURNS = 8;
const ANSWER_CHARACTERS = 8_192;

/** What the model is told of before this question. A decision is made from its question alone. */
export function toldTurns(subject: Subject, { kind }: AnswerKind): readonly EarlierTurn[] {
  return subject.kind === 'frame' && (kind === 'text' || kind === 'json') ? subject.turns.slice(-TOLD_TURNS) : [];
}

export function startOf(subject: Subject): Side {
  const frame = subject.kind === 'frame' ? subject.frame : undefined;
  const run = subject.kind === 'frame' ? subject.run : undefined;
  const base = { subject, camera: subject.camera, run, frame, text: '' };
  return { ...base, answer: undefined, failure: undefined };
}

/** What is said about this frame from now on. */
export function turnsAfter({ subject, answer }: Side, question: string): readonly EarlierTurn[] {
  const before = subject.kind === 'frame' ? subject.turns : [];
  const said = answer?.text.slice(0, ANSWER_CHARACTERS) ?? '';
  return said === '' ? before : [...before, { question, answer: said }];
}

/** Asks, and tells how far it is; never rejects. */
export async function askSide(
  { question, answerKind }: Pick<Exchange, 'question' | 'answerKind'>,
  side: Side,
  change: (side: Side) => void,
  signal: AbortSignal,
): Promise<void> {
  let now = side;
  const set = (part: Partial<Side>): void => {
    now = { ...now, ...part };
    change(now);
  };
  try {
    for await (const event of ask(
      { question, ...about(side.subject, answerKind), ...requestPart(answerKind) },
      signal,
    )) {
      if (event.type === 'frame') set({ frame: event.frame, camera: event.camera });
      if (event.type === 'text') set({ text: now.text + event.text });
      if (event.type === 'answer') set({ text: event.text, answer: event });
      if (event.type === 'error') set({ failure: event.message });
    }
    if (now.answer === undefined && now.failure === undefined) set({ failure: 'The device ended before its answer.' });
  } catch (error) {
    set({ failure: signal.aborted ? 'Stopped.' : messageOf(error) });
  }
}

function about(subject: Subject, answerKind: AnswerKind): Pick<AskInput, 'camera' | 'frame' | 'turns'> {
  if (subject.kind === 'camera') return { camera: subject.camera };
  const { frame, camera, run } = subject;
  const turns = toldTurns(subject, answerKind);
  return {
    frame: { id: frame.id, ...(run === undefined ? {} : { run }) },
    ...(camera === null ? {} : { camera }),
    ...(turns.length === 0 ? {} : { turns: [...turns] }),
  };
}
