/** `absent`: a thing that SceneBus can do without; `meaning` says what is lost. `problem`: something will not work. */
export interface Finding {
  readonly id: string;
  readonly title: string;
  readonly status: 'ok' | 'absent' | 'problem';
  /** What was found, in one line. */
  readonly value: string;
  /** What follows from it. */
  readonly meaning?: string | undefined;
  /** What to do about it. */
  readonly remedy?: string | undefined;
}
