import { type Command, InvalidArgumentError } from 'commander';
import { parseCount } from './model-options.js';

/** Options of commands that measure a model on a public data set. */
export interface DataOptions {
  readonly data: string;
  readonly annotations?: string;
  readonly images?: string;
  readonly split?: string;
  readonly prompt?: string;
  readonly limit?: number;
  readonly batch: number;
  readonly threads?: number;
  readonly cache?: string;
}

const MOST_AT_ONCE = 16;

export function addDataOptions(command: Command): Command {
  return command
    .requiredOption('--data <file>', 'annotation file of the data set, as its authors publish it')
    .option('--annotations <file>', 'its second file: the answers of VQA, instances.json of RefCOCO')
    .option('--images <folder>', 'folder of its pictures; default: the folder of the file')
    .option('--split <name>', 'part of a file that holds several (RefCOCO, ScienceQA); default: val')
    .option('--prompt <text>', 'in place of the task’s; {question}, {options} and {label} stand for the item’s')
    .option('--limit <count>', 'only the first so many items', parseCount)
    .option('--batch <count>', `questions under way at once, 1 to ${MOST_AT_ONCE}`, parseBatch, 4)
    .option('--threads <count>', 'default: the physical cores', parseCount)
    .option('--cache <directory>', 'where prepared files are kept; default ~/.cache/scenebus');
}

export function dataOf({ data: file, annotations, images, split }: DataOptions) {
  return { file, annotations, images, split };
}

function parseBatch(text: string): number {
  const value = parseCount(text);
  if (value > MOST_AT_ONCE) throw new InvalidArgumentError(`Expected at most ${MOST_AT_ONCE}.`);
  return value;
}
