/** Scenes to evaluate on: rendered afresh by the demo model's generator, or read from a folder that it wrote. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { SdkError } from '#sdk/core/errors.js';

export const VARIANTS = ['plain', '4:3', '16:9', 'dark', 'bright'] as const;
export type Variant = (typeof VARIANTS)[number];

const relativeBoxSchema = z.tuple([z.number(), z.number(), z.number(), z.number()]);
const question = { question: z.string(), reference: z.string() };

/** One question of a scene; `examples/demo-model/training/make_eval.py` documents the fields. */
export const questionSchema = z.discriminatedUnion('task', [
  z.object({ task: z.literal('exists'), ...question, answer: z.boolean() }),
  z.object({ task: z.literal('colour'), ...question, answer: z.string() }),
  z.object({ task: z.literal('count'), ...question, answer: z.int() }),
  z.object({ task: z.literal('countOf'), ...question, answer: z.int() }),
  z.object({ task: z.literal('leftRight'), ...question, answer: z.string().nullable() }),
  z.object({ task: z.literal('lampOn'), ...question, answer: z.boolean() }),
  z.object({ task: z.literal('signExact'), ...question, answer: z.string() }),
  z.object({ task: z.literal('locate'), ...question, label: z.string(), relativeBox: relativeBoxSchema }),
  z.object({ task: z.literal('absentSaid'), ...question, label: z.string() }),
  z.object({ task: z.literal('list'), ...question }),
  z.object({ task: z.literal('caption'), ...question }),
]);

export const sceneSchema = z.object({
  image: z.string().regex(/^[\w.-]+$/),
  objects: z.array(
    z.object({
      label: z.string(),
      colour: z.string(),
      class: z.string(),
      box: relativeBoxSchema,
      heldOut: z.boolean().default(false),
    }),
  ),
  questions: z.array(questionSchema),
});

export type Question = z.output<typeof questionSchema>;
export type Scene = z.output<typeof sceneSchema>;

/** @throws SdkError ERR_CONFIG_INVALID naming the line */
export async function readScenes(folder: string): Promise<Scene[]> {
  const path = join(folder, 'scenes.jsonl');
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new SdkError('ERR_CONFIG_INVALID', `Expected ${path}, written by make_eval.py, but it cannot be read.`, {
      cause,
    });
  });
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line, index) => {
    try {
      return sceneSchema.parse(JSON.parse(line));
    } catch (cause) {
      const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
      throw new SdkError('ERR_CONFIG_INVALID', `Expected a scene in line ${index + 1} of ${path}: ${reason}`, {
        cause,
      });
    }
  });
}

const run = promisify(execFile);

/** A Python that has what the generator needs; systems often have several. */
export async function findPython(
  candidates: readonly string[] = [...(process.env.PYTHON ? [process.env.PYTHON] : []), 'python3', '/usr/bin/python3'],
): Promise<string> {
  for (const python of candidates) {
    const works = await run(python, ['-c', 'import PIL, numpy']).then(
      () => true,
      () => false,
    );
    if (works) return python;
  }
  throw new SdkError(
    'ERR_CONFIG_INVALID',
    `Expected a Python 3 with Pillow and NumPy, which render the scenes (only this command and training need it), but found none as ${candidates.join(', ')}. Install them: apt-get install python3 python3-pil python3-numpy; or name another Python: PYTHON=/path/to/python3.`,
  );
}

/** Renders `count` fresh scenes of a seed into `folder`. */
export async function renderScenes(
  generator: string,
  options: { readonly count: number; readonly seed: string; readonly variant: Variant; readonly folder: string },
): Promise<void> {
  const python = await findPython();
  const { count, seed, variant, folder } = options;
  const args = ['-B', generator, '--scenes', String(count), '--seed', seed, '--variant', variant, '--out', folder];
  await run(python, args, { maxBuffer: 2 ** 20 }).catch((cause: Error & { stderr?: string }) => {
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `The scene generator failed: ${cause.stderr?.trim().split('\n').at(-1) ?? cause.message}`,
      {
        cause,
      },
    );
  });
}
