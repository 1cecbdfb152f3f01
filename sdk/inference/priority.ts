/** What counts more when several want the model, most urgent first. */
export type Priority = 'question' | 'watch' | 'description';

export const PRIORITIES = ['question', 'watch', 'description'] as const satisfies readonly Priority[];
