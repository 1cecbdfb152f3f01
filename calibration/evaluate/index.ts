/** Scores of models on public data sets: `scenebus evaluate` and `scenebus compare`. */
export type { AnswersKey } from './answers-file.js';
export {
  type ComparedCost,
  type ComparedMeasure,
  type CompareOptions,
  type Comparison,
  compareAnswers,
  comparisonMarkdown,
} from './compare.js';
export type { DataSource } from './data/items.js';
export { type EvaluateOptions, type Evaluation, evaluate, MOST_AT_ONCE } from './evaluate.js';
export type { TaskName } from './task-names.js';
