import type { Usage } from 'scenebus';
import type { EventHub } from '../events/hub.js';

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

  constructor(hub: EventHub) {
    hub.on('scene', ({ body }) => this.#add(body.answer.usage));
    hub.on('answer', ({ body }) => this.#add(body.answer?.usage));
  }

  /** For `health`. */
  get metrics(): Readonly<Record<keyof Usage, number>> {
    return this.#sum;
  }

  #add(counts: object | undefined): void {
    const usage: Partial<Usage> | undefined = counts;
    const names = Object.keys(this.#sum) as (keyof Usage)[];
    this.#sum = Object.fromEntries(
      names.map((name) => [name, this.#sum[name] + (usage?.[name] ?? 0)]),
    ) as unknown as Usage;
  }
}
