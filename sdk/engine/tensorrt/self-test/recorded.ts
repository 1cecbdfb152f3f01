/** Placeholder until recorded by test/support/record-self-test.ts. */
export const RECORDED: readonly (readonly [name: string, float16: string])[] = [];
