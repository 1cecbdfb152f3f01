/** What a data set comes to: pictures, what is asked about them, and what people say is right. */
import { stat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';
import type { CallOptions } from '#sdk/core/types.js';

/** Files of a data set, as its authors publish them. */
export interface DataSource extends CallOptions {
  /** The file that names the pictures: questions, references or captions. */
  readonly file: string;
  /** Where a data set keeps its answers or boxes in a second file. */
  readonly annotations?: string | undefined;
  /** Folder of the pictures. Default: the folder of `file`. */
  readonly images?: string | undefined;
  /** Of data sets whose file holds several parts. */
  readonly split?: string | undefined;
}

/** One question about one picture. */
export interface DataItem<Expected> {
  /** Unique within the data set. */
  readonly id: string;
  /** Names the picture within the folder; several where releases differ, of which the first that is there is taken. */
  readonly imageNames: readonly string[];
  /** Empty where the task asks the same of every picture. */
  readonly question: string;
  readonly expected: Expected;
}

export interface DataSet<Expected> {
  readonly items: readonly DataItem<Expected>[];
  /** How many were left out, and why. */
  readonly leftOut: Readonly<Record<string, number>>;
}

/** An item whose picture was found. */
export interface PlacedItem<Expected> extends DataItem<Expected> {
  readonly imagePath: string;
}

/** @throws SdkError ERR_CONFIG_INVALID for an id that comes twice, and for no items */
export function requireItems<Expected>(file: string, { items }: DataSet<Expected>): void {
  if (items.length === 0) throw dataError(file, 'it holds nothing to ask');
  const seen = new Set<string>();
  for (const { id } of items) {
    if (seen.has(id)) throw dataError(file, `the id ${JSON.stringify(id)} comes twice`, { id });
    seen.add(id);
  }
}

/**
 * All pictures are looked for before anything is asked.
 * @throws SdkError ERR_CONFIG_INVALID naming some that are missing, or one outside the folder
 */
export async function placeItems<Expected>(
  file: string,
  items: readonly DataItem<Expected>[],
  folder: string,
  { signal }: CallOptions = {},
): Promise<PlacedItem<Expected>[]> {
  const root = resolve(folder);
  const known = new Map<string, string | undefined>();
  const missing = new Set<string>();
  const placed: PlacedItem<Expected>[] = [];
  for (const item of items) {
    signal?.throwIfAborted();
    const key = item.imageNames.join('\n');
    if (!known.has(key)) known.set(key, await firstThere(file, root, item.imageNames));
    const imagePath = known.get(key);
    if (imagePath === undefined) missing.add(item.imageNames[0]!);
    else placed.push({ ...item, imagePath });
  }
  if (missing.size > 0) {
    const some = [...missing].slice(0, 5);
    throw dataError(
      file,
      `of its pictures ${missing.size} of ${known.size} are not in ${folder}: ${some.join(', ')}${missing.size > some.length ? ' …' : ''}. Name their folder with --images`,
      { missing: missing.size, some },
    );
  }
  return placed;
}

async function firstThere(file: string, root: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const path = resolve(root, name);
    if (!path.startsWith(root + sep))
      throw dataError(file, `the picture ${JSON.stringify(name)} lies outside of its folder`);
    const isFile = await stat(path).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (isFile) return path;
  }
  return undefined;
}

export function dataError(file: string, problem: string, details: Record<string, unknown> = {}): SdkError {
  return new SdkError('ERR_CONFIG_INVALID', `${file} is not as expected: ${problem}.`, {
    details: { file, ...details },
  });
}
