/** A watch while it is being written: what the form holds, and the definition that it makes. */
import type { WatchChanges, WatchDefinition } from '../../../../api/watch-schemas.js';
import { hashQuery } from '../../hash-query.js';

export type Schedule = NonNullable<WatchDefinition['schedule']>;
export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

/** Numbers as typed: half of one is none yet. */
export interface Draft {
  readonly id: string;
  readonly question: string;
  readonly answerType: WatchDefinition['answerType'];
  /** Separated by commas. */
  readonly choices: string;
  /** Empty: every camera. */
  readonly cameras: readonly string[];
  /** Empty: whenever the scene changes. */
  readonly interval: string;
  readonly agreeCount: string;
  readonly agreeOf: string;
  readonly minProbability: string;
  readonly quiet: string;
  readonly schedule: Schedule;
  readonly region: WatchDefinition['region'];
}

const EMPTY: Draft = {
  id: '',
  question: '',
  answerType: 'yes-no',
  choices: '',
  cameras: [],
  interval: '',
  agreeCount: '1',
  agreeOf: '1',
  minProbability: '50',
  quiet: '',
  schedule: [],
  region: undefined,
};

const ANSWER_TYPES = ['yes-no', 'choice', 'number', 'text'] as const;

/** What the page Ask handed over; undefined: nothing. */
export function handedDraft(): Draft | undefined {
  const query = hashQuery();
  const question = query.get('question');
  if (question === null) return undefined;
  const asked = ANSWER_TYPES.find((type) => type === query.get('answerType')) ?? 'yes-no';
  // Words make a poor watch: any other wording is another value. A question in words is most often one of yes or no.
  const answerType = asked === 'text' && isYesNo(question) ? 'yes-no' : asked;
  const camera = query.get('camera');
  const choices = query.get('choices')?.split(',').join(', ') ?? '';
  return { ...EMPTY, question, answerType, choices, cameras: camera === null ? [] : [camera] };
}

export function newDraft(): Draft {
  return EMPTY;
}

export function draftOf(watch: WatchDefinition): Draft {
  const { id, question, answerType, choices = [], cameras = [], intervalSeconds, agree, region } = watch;
  return {
    id,
    question,
    answerType,
    choices: choices.join(', '),
    cameras,
    interval: intervalSeconds === undefined ? '' : String(intervalSeconds),
    agreeCount: String(agree?.count ?? 1),
    agreeOf: String(agree?.of ?? 1),
    minProbability: String(Math.round(100 * (watch.minProbability ?? 0.5))),
    quiet: watch.quietSeconds === undefined ? '' : String(watch.quietSeconds),
    schedule: watch.schedule ?? [],
    region,
  };
}

/** An id made of the question's words, and of a number where it is taken. */
export function idFor(question: string, taken: readonly string[]): string {
  const words = question
    .normalize('NFKD')
    .toLowerCase()
    .replace(/^(is|are) there (an?|any)?\b/, '')
    .match(/[a-z0-9]+/g);
  const base = (words ?? []).slice(0, 4).join('-').slice(0, 40) || 'watch';
  for (let number = 1; ; number++) {
    const id = number === 1 ? base : `${base}-${number}`;
    if (!taken.includes(id)) return id;
  }
}

/** The definition, or what is not right yet. */
export function definitionOf(
  draft: Draft,
  taken: readonly string[],
): { readonly watch: WatchDefinition } | { readonly fault: string } {
  const question = draft.question.trim();
  const id = draft.id.trim() || idFor(question, taken);
  const choices = [...new Set(draft.choices.split(',').map((each) => each.trim()))].filter(Boolean);
  const interval = Number(draft.interval);
  const quiet = Number(draft.quiet);
  const [count, of] = [Number(draft.agreeCount), Number(draft.agreeOf)];
  const percent = Number(draft.minProbability);
  if (question === '') return { fault: 'Write the question.' };
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(id)) return { fault: 'The name needs letters, digits, _ or -.' };
  if (taken.includes(id)) return { fault: `There is a watch ${id} already; choose another name.` };
  if (draft.answerType === 'choice' && choices.length < 2) return { fault: 'Give two choices or more.' };
  if (draft.interval !== '' && !(interval >= 0.1 && interval <= 86_400))
    return { fault: 'The interval is 0.1 to 86 400 seconds.' };
  if (![count, of].every((each) => Number.isInteger(each) && each >= 1 && each <= 20) || count > of)
    return { fault: 'Answers that agree: 1 to 20, and no more than are looked at.' };
  if (!(percent >= 0 && percent <= 100)) return { fault: 'The least probability is 0 to 100 %.' };
  if (!(quiet >= 0 && quiet <= 86_400)) return { fault: 'The quiet time is 0 to 86 400 seconds.' };
  if (draft.schedule.some(({ from, to }) => from === '' || to === ''))
    return { fault: 'Give both times of the hours.' };
  const { answerType, cameras, schedule, region } = draft;
  return {
    watch: {
      id,
      question,
      answerType,
      ...(answerType === 'choice' && { choices }),
      ...(cameras.length > 0 && { cameras: [...cameras] }),
      ...(draft.interval !== '' && { intervalSeconds: interval }),
      ...(of > 1 && { agree: { count, of } }),
      ...(percent !== 50 && { minProbability: percent / 100 }),
      ...(quiet > 0 && { quietSeconds: quiet }),
      ...(schedule.length > 0 && { schedule }),
      ...(region && { region }),
    },
  };
}

/** All that the form holds: what the new definition leaves out is taken away. */
export function changesOf({ id: _id, enabled: _enabled, ...watch }: WatchDefinition): WatchChanges {
  const none = {
    cameras: null,
    choices: null,
    intervalSeconds: null,
    agree: null,
    minProbability: null,
    quietSeconds: null,
    schedule: null,
    region: null,
  };
  return { ...none, ...watch };
}

function isYesNo(question: string): boolean {
  return /^(is|are|does|do|did|has|have|can|was|were|will)\b/i.test(question.trim());
}
