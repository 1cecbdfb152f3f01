/** What crosses the HTTP API about setting a device up, its licences, and what is sent to whoever helps. */
import { z } from 'zod';

export const SETUP_STEPS = ['camera', 'model', 'broker', 'question'] as const;
export type SetupStep = (typeof SETUP_STEPS)[number];

const step = z.strictObject({
  id: z.enum(SETUP_STEPS),
  isDone: z.boolean(),
  /** How it stands, in plain words. */
  reason: z.string(),
  /** What to do; null: nothing. */
  remedy: z.string().nullable(),
});

export const setupSchema = z.strictObject({
  /** In their order. */
  steps: z.array(step),
  /** Somebody left it for later. */
  isLeft: z.boolean(),
  /** Cameras that are plugged into this machine. */
  devices: z.array(z.strictObject({ address: z.string(), name: z.string(), isAccessible: z.boolean() })),
});
export type Setup = z.infer<typeof setupSchema>;

export const setupCheckSchema = z.strictObject({ step: z.enum(['camera', 'model', 'broker']) });
export const setupLeaveSchema = z.strictObject({ isLeft: z.boolean() });
/** The step that was checked, as it stands now. */
export const setupStepSchema = step;
export type SetupStepState = z.infer<typeof step>;

const text = z.strictObject({ name: z.string(), text: z.string() });
export const licencesSchema = z.strictObject({
  product: z.array(text),
  model: z.strictObject({
    /** Why it is under the Llama Community License; null: nothing says so. */
    llama: z.string().nullable(),
    texts: z.array(text),
    duties: z.array(z.string()),
  }),
});
export type LicencesInfo = z.infer<typeof licencesSchema>;
