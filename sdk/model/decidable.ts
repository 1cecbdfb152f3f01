/** Questions with only a few possible answers. */

/** What an answer can be, where there are only a few. */
export type Decidable =
  | { readonly type: 'yes-no' }
  /** Whole numbers; default 0 to 100. */
  | { readonly type: 'number'; readonly min?: number | undefined; readonly max?: number | undefined }
  /** Answers as the model would write them, at most 64; case does not matter. */
  | { readonly type: 'choice'; readonly choices: readonly string[] };

/** One of the possible answers. */
export interface DecidedOption {
  /** yes-no: true or false; number: a number; choice: one of them, as it was given. */
  readonly value: boolean | number | string;
  /** 0–1, among all options. */
  readonly probability: number;
}

/** What `yesNo`, `choice`, `number` and `count` make. */
export class DecidedSchema<V extends DecidedOption['value'] = DecidedOption['value']> {
  readonly decidable: Decidable;
  /** For the compiler only: what the answer's value is. */
  declare readonly value: V;

  constructor(decidable: Decidable) {
    this.decidable = decidable;
  }
}
