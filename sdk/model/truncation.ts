/** Conversations that have outgrown the context: the oldest turns are left out, and whoever asks is told. */
import { SdkError } from '../core/errors.js';
import type { Prompt, PromptMessage } from '../text/prompt.js';
import type { GenerateRequest } from './types.js';

/** A conversation as the model gets it. */
export interface FittedConversation {
  readonly prompt: Prompt;
  /** From the start, behind the system message. */
  readonly droppedTurns: number;
}

/** At most this share of the context is kept free for an answer. */
const ANSWER_SHARE = 1 / 4;

/** @throws SdkError ERR_ARGUMENT_INVALID for another word */
export function truncationOf({ truncation = 'disabled' }: GenerateRequest): 'disabled' | 'oldest-turns' {
  if (truncation === 'disabled' || truncation === 'oldest-turns') return truncation;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected the truncation "disabled" or "oldest-turns" but received ${JSON.stringify(truncation)}.`,
    { details: { option: 'truncation' } },
  );
}

/** Tokens that a prompt may have so that an answer finds room behind it. */
export function roomForPrompt(contextLength: number, maxNewTokens: number): number {
  return contextLength - Math.max(1, Math.min(maxNewTokens, Math.floor(contextLength * ANSWER_SHARE)));
}

/**
 * As few turns as must go are left out, the oldest first: what a user said and what came back. The system message and the
 * last turn stay, and so do pictures: those of turns that go come before the first text that stays. A last turn that is
 * too long by itself is left to who checks the prompt.
 */
export function fitConversation(
  messages: readonly PromptMessage[],
  render: (messages: readonly PromptMessage[]) => Prompt,
  mostTokens: number,
): FittedConversation {
  const whole = render(messages);
  const start = messages.findIndex(({ role }) => role !== 'system');
  const turns = turnsOf(messages.slice(Math.max(0, start)));
  if (whole.ids.length <= mostTokens || turns.length < 2) return { prompt: whole, droppedTurns: 0 };
  const without = (count: number) => render([...messages.slice(0, start), ...withoutOldest(turns, count)]);
  // The more go, the shorter it is.
  let [tooFew, enough] = [0, turns.length - 1];
  let prompt = without(enough);
  while (enough - tooFew > 1) {
    const count = Math.floor((tooFew + enough) / 2);
    const shorter = without(count);
    if (shorter.ids.length <= mostTokens) [enough, prompt] = [count, shorter];
    else tooFew = count;
  }
  return { prompt, droppedTurns: enough };
}

/** For people; undefined: nothing was left out. */
export function truncationNotice({ droppedTurns }: FittedConversation, contextLength: number): string | undefined {
  if (droppedTurns === 0) return undefined;
  const turns = droppedTurns === 1 ? 'The oldest turn was' : `The ${droppedTurns} oldest turns were`;
  return `${turns} left out: the conversation has outgrown the context of ${contextLength} tokens. The model does not know any more what was said there.`;
}

/** Each begins with what a user says. */
function turnsOf(messages: readonly PromptMessage[]): PromptMessage[][] {
  const turns: PromptMessage[][] = [];
  for (const message of messages) {
    if (message.role === 'user' || turns.length === 0) turns.push([message]);
    else turns.at(-1)!.push(message);
  }
  return turns;
}

function withoutOldest(turns: readonly (readonly PromptMessage[])[], count: number): PromptMessage[] {
  const pictures = turns
    .slice(0, count)
    .flat()
    .flatMap(({ parts }) => parts.filter(({ type }) => type === 'image'));
  const [first, ...others] = turns.slice(count).flat();
  return [{ ...first!, parts: [...pictures, ...first!.parts] }, ...others];
}
