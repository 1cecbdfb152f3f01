/** What counts more when several want the model, most urgent first. */
export type Priority = 'urgent' | 'question' | 'watch' | 'description';

/** Most urgent first. */
export const PRIORITIES = ['urgent', 'question', 'watch', 'description'] as const satisfies readonly Priority[];
