/** What crosses the HTTP API about the configuration. */
import { z } from 'zod';

const step = z.union([z.string().min(1).max(100), z.int().min(0).max(1_000)]);
const path = z.array(step).min(1).max(12);
const revision = z.string().regex(/^[0-9a-f]{32}$/, 'Expected the revision of GET /api/config');

export const configChangesSchema = z.strictObject({
  /** Of the file that was seen: another one is refused. */
  revision,
  changes: z
    .array(
      z.strictObject({
        path,
        /** Left out: the setting is taken away, and its default holds. */
        value: z.json().optional(),
      }),
    )
    .min(1)
    .max(200),
});
export type ConfigChangesInput = z.infer<typeof configChangesSchema>;

export const revisionSchema = z.strictObject({ revision });
export const newSecretSchema = z.strictObject({ revision, value: z.string().min(1).max(1_024) });

const diff = z.array(z.strictObject({ kind: z.enum(['same', 'removed', 'added']), text: z.string() }));
export type ConfigDiff = z.infer<typeof diff>;
const problems = z.array(z.strictObject({ path: z.array(step), message: z.string() }));
export type ConfigProblems = z.infer<typeof problems>;
/** Paths of settings, such as `describe.maxSilenceSeconds`, `cameras.front.masks`. */
const paths = z.array(z.string());

export const configOverviewSchema = z.strictObject({
  /** Name of the file, without its folder. */
  name: z.string(),
  /** It lasts as long as the device runs: there is no file. */
  isTemporary: z.boolean(),
  /** Why nothing can be saved; null: it can. */
  readOnly: z.string().nullable(),
  revision,
  /** JSON Schema of the file; what may not be changed here is `readOnly`, with the reason in `x-reason`. */
  schema: z.record(z.string(), z.unknown()),
  /** As written in the file, without secrets. */
  values: z.record(z.string(), z.unknown()),
  /** What the file says and only the next start honours. */
  needsRestart: paths,
  /** What is wrong with the file as it is. */
  problems,
  secrets: z.array(
    z.strictObject({
      id: z.string(),
      title: z.string(),
      isSet: z.boolean(),
      /** null: it can be replaced here. */
      fixed: z.string().nullable(),
    }),
  ),
  /** What going back to the version before the last change would do; null: there is none. */
  undo: diff.nullable(),
});
export type ConfigOverview = z.infer<typeof configOverviewSchema>;

export const configPreviewSchema = z.strictObject({
  /** Nothing can be saved while there are any. */
  problems,
  diff,
  /** What would hold at once. */
  applied: paths,
  needsRestart: paths,
});
export type ConfigPreview = z.infer<typeof configPreviewSchema>;

export const configSavedSchema = z.strictObject({
  revision,
  applied: paths,
  needsRestart: paths,
  /** Why it is saved but does not hold yet; null: it does. */
  failure: z.string().nullable(),
});
export type ConfigSaved = z.infer<typeof configSavedSchema>;
