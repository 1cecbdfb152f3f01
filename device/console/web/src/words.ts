/** Values and probabilities for people. */
export function wordsOf(value: boolean | number | string): string {
  return typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
}

export function percent(probability: number): string {
  return `${Math.round(100 * probability)} %`;
}
