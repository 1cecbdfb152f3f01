import type { Usage } from 'scenebus';

/** What all answers and descriptions since the start took, and how much of it was spared. */
export class UsageTotals {
  #sum: Usage = {
    promptTokens: 0,
    reusedTokens: 0,
    generatedTokens: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
    images: 0,
    reusedImages: 0,
    preemptions: 0,
  };

  add(usage: Usage): void {
    const names = Object.keys(this.#sum) as (keyof Usage)[];
    this.#sum = Object.fromEntries(names.map((name) => [name, this.#sum[name] + usage[name]])) as unknown as Usage;
  }

  /** For `health`. */
  get metrics(): Readonly<Record<keyof Usage, number>> {
    return this.#sum;
  }
}
