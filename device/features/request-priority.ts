import type { Priority } from 'scenebus';
import type { RequestOf } from 'scenebus/bus';

const PRIORITIES = { high: 'urgent', normal: 'question', low: 'description' } as const satisfies Record<
  string,
  Priority
>;

/** What a request claims, as the model's queue has it. A low one gives way to every question and to watches. */
export function priorityOf({ priority = 'normal' }: Pick<RequestOf<'ask'>, 'priority'>): Priority {
  return PRIORITIES[priority];
}
