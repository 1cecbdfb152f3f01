/** Questions with written answers: VQA, TextVQA, DocVQA, ChartQA, POPE, MMMU, ScienceQA. */
import { z } from 'zod';
import { checkLayout, LAYOUTS, readDocument, readRecords } from './files.js';
import { type DataItem, type DataSet, type DataSource, dataError } from './items.js';

const id = z.union([z.string(), z.number()]).transform(String);
const texts = z.array(z.string()).min(1);

const vqaQuestions = z.object({
  data_subtype: z.string().optional(),
  questions: z.array(z.object({ question_id: id, image_id: id, question: z.string() })),
});
const vqaAnnotations = z.object({
  annotations: z.array(z.object({ question_id: id, answers: z.array(z.object({ answer: z.string() })).min(1) })),
});
const textVqa = z.object({
  data: z.array(z.object({ question_id: id, image_id: z.string(), question: z.string(), answers: texts })),
});

/**
 * VQA v1 and v2: `file` is `v2_OpenEnded_mscoco_val2014_questions.json`, `annotations` is
 * `v2_mscoco_val2014_annotations.json`; pictures as COCO names them. Or TextVQA, whose one file has both:
 * `TextVQA_0.5.1_val.json`, pictures `<image_id>.jpg`.
 */
export async function readVqa({ file, annotations, signal }: DataSource): Promise<DataSet<readonly string[]>> {
  const document = await readDocument(file, { signal });
  if (typeof document === 'object' && document !== null && 'data' in document) {
    const { data } = checkLayout(file, LAYOUTS.textVqa, textVqa, document);
    const items = data.map(({ question_id, image_id, question, answers }) => ({
      id: question_id,
      imageNames: [`${image_id}.jpg`, `${image_id}.png`],
      question,
      expected: answers,
    }));
    return { items, leftOut: {} };
  }
  const { questions, data_subtype } = checkLayout(file, LAYOUTS.vqaQuestions, vqaQuestions, document);
  if (annotations === undefined)
    throw dataError(
      file,
      'VQA keeps its answers in a second file (v2_mscoco_val2014_annotations.json); name it with --annotations',
    );
  const answers = checkLayout(
    annotations,
    LAYOUTS.vqaAnnotations,
    vqaAnnotations,
    await readDocument(annotations, { signal }),
  );
  const byQuestion = new Map(
    answers.annotations.map((each) => [each.question_id, each.answers.map(({ answer }) => answer)]),
  );
  const items = questions.map(({ question_id, image_id, question }) => {
    const expected = byQuestion.get(question_id);
    if (expected === undefined)
      throw dataError(
        file,
        `${annotations} has no answers to question ${question_id}; the files are of different parts`,
      );
    return { id: question_id, imageNames: cocoNames(image_id, data_subtype), question, expected };
  });
  return { items, leftOut: {} };
}

const docVqa = z.object({
  data: z.array(z.object({ questionId: id, question: z.string(), image: z.string(), answers: texts.optional() })),
});

/** DocVQA task 1 (`val_v1.0_withQT.json`) and InfographicVQA; of the test parts, which have no answers, nothing can be scored. */
export async function readDocVqa({ file, signal }: DataSource): Promise<DataSet<readonly string[]>> {
  const { data } = checkLayout(file, LAYOUTS.docVqa, docVqa, await readDocument(file, { signal }));
  const items = data.map(({ questionId, question, image, answers }) => {
    if (answers === undefined) throw dataError(file, `question ${questionId} has no answers, as in the test part`);
    return { id: questionId, imageNames: [image, image.replace(/^documents\//, '')], question, expected: answers };
  });
  return { items, leftOut: {} };
}

const chartQa = z.array(z.object({ imgname: z.string(), query: z.string(), label: z.string() }));

/** ChartQA (`test_human.json`, `test_augmented.json`); the pictures are in the folder `png` beside it. */
export async function readChartQa({ file, signal }: DataSource): Promise<DataSet<string>> {
  const records = checkLayout(file, LAYOUTS.chartQa, chartQa, await readDocument(file, { signal }));
  const items = records.map(({ imgname, query, label }, i) => ({
    id: String(i),
    imageNames: [imgname, `png/${imgname}`],
    question: query,
    expected: label,
  }));
  return { items, leftOut: {} };
}

const pope = z.array(z.object({ question_id: id, image: z.string(), text: z.string(), label: z.enum(['yes', 'no']) }));

/** POPE (`coco_pope_random.json` and its siblings): JSON lines. */
export async function readPope({ file, signal }: DataSource): Promise<DataSet<boolean>> {
  const records = checkLayout(file, LAYOUTS.pope, pope, await readRecords(file, { signal }));
  const items = records.map(({ question_id, image, text, label }) => ({
    id: question_id,
    imageNames: [image],
    question: text,
    expected: label === 'yes',
  }));
  return { items, leftOut: {} };
}

export interface Choices {
  readonly options: readonly string[];
  /** Index of the right one. */
  readonly right: number;
}

const pictureColumn = z.union([z.string(), z.object({ path: z.string() }), z.null()]).optional();
const mmmu = z.object({
  id,
  question: z.string(),
  options: z.union([z.string(), z.array(z.string())]),
  answer: z.string(),
  question_type: z.string().optional(),
  image_1: pictureColumn,
  image_2: pictureColumn,
});
const scienceQa = z.record(
  z.string(),
  z.object({
    question: z.string(),
    choices: texts,
    answer: z.int().min(0),
    image: z.string().nullable(),
    split: z.string(),
    hint: z.string().optional(),
  }),
);

/**
 * MMMU's columns as JSON or JSON lines (`id`, `question`, `options` as a list or as Python writes one, `answer` a letter,
 * `image_1` a file or `{"path": …}`), or ScienceQA's `problems.json` with pictures `<split>/<id>/image.png`. Left out:
 * open questions, and what is asked about no picture or several.
 */
export async function readChoices({ file, split, signal }: DataSource): Promise<DataSet<Choices>> {
  const records = await readRecords(file, { signal });
  const [first] = records;
  const isProblems = records.length === 1 && typeof first === 'object' && first !== null && !('options' in first);
  return isProblems ? problems(file, first, split) : choiceRows(file, records);
}

function choiceRows(file: string, records: readonly unknown[]): DataSet<Choices> {
  const leftOut = new LeftOut();
  const items: DataItem<Choices>[] = [];
  for (const row of checkLayout(file, LAYOUTS.mmmu, z.array(mmmu), records)) {
    const options = typeof row.options === 'string' ? pythonStrings(file, row.id, row.options) : row.options;
    if (row.question_type === 'open' || options.length === 0) leftOut.add('open questions');
    else if (row.image_1 === undefined || row.image_1 === null) leftOut.add('questions without a picture');
    else if (row.image_2 !== undefined && row.image_2 !== null) leftOut.add('questions about several pictures');
    else {
      const right = /^[A-Z]$/.test(row.answer) ? row.answer.charCodeAt(0) - 65 : -1;
      if (right < 0 || right >= options.length || options.length < 2)
        throw dataError(
          file,
          `the answer ${JSON.stringify(row.answer)} of ${row.id} is no letter of its ${options.length} options`,
        );
      const image = typeof row.image_1 === 'string' ? row.image_1 : row.image_1.path;
      items.push({ id: row.id, imageNames: [image], question: row.question, expected: { options, right } });
    }
  }
  return { items, leftOut: leftOut.counts };
}

function problems(file: string, value: unknown, split = 'val'): DataSet<Choices> {
  const leftOut = new LeftOut();
  const all = Object.entries(checkLayout(file, LAYOUTS.scienceQa, scienceQa, value));
  const splits = [...new Set(all.map(([, problem]) => problem.split))];
  if (!splits.includes(split)) throw noSuchSplit(file, split, splits);
  const items: DataItem<Choices>[] = [];
  for (const [key, { question, choices, answer, image, split: part, hint }] of all) {
    if (part !== split) continue;
    if (image === null) leftOut.add('questions without a picture');
    else if (answer >= choices.length || choices.length < 2)
      throw dataError(file, `the answer ${answer} of ${key} is none of its ${choices.length} choices`);
    else
      items.push({
        id: key,
        imageNames: [`${part}/${key}/${image}`],
        question: hint ? `${hint}\n${question}` : question,
        expected: { options: choices, right: answer },
      });
  }
  return { items, leftOut: leftOut.counts };
}

/** A list of strings as Python writes it: `['a', "it's"]`. */
function pythonStrings(file: string, key: string, text: string): string[] {
  const strings: string[] = [];
  const item = /\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(,|$)/y;
  const inner = /^\s*\[([\s\S]*)\]\s*$/.exec(text)?.[1]?.trim();
  if (inner === undefined) throw dataError(file, `the options of ${key} are no list: ${text.slice(0, 60)}`);
  while (item.lastIndex < inner.length) {
    const match = item.exec(inner);
    if (match === null) throw dataError(file, `the options of ${key} are no list of texts: ${text.slice(0, 60)}`);
    strings.push((match[1] ?? match[2]!).replaceAll(/\\(.)/g, (_, sign: string) => (sign === 'n' ? '\n' : sign)));
  }
  return strings;
}

class LeftOut {
  readonly #counts: Record<string, number> = {};

  add(reason: string): void {
    this.#counts[reason] = (this.#counts[reason] ?? 0) + 1;
  }

  get counts(): Readonly<Record<string, number>> {
    return this.#counts;
  }
}

export function noSuchSplit(file: string, split: string, splits: readonly string[]) {
  return dataError(file, `it has no part ${JSON.stringify(split)}; name one of ${splits.join(', ')} with --split`, {
    splits,
  });
}

/** As the release of 2014 names pictures, and that of 2017. */
export function cocoNames(imageId: string, part: string | undefined): string[] {
  const digits = imageId.padStart(12, '0');
  const parts = part === undefined ? ['val2014', 'train2014'] : [part];
  return [...parts.map((each) => `COCO_${each}_${digits}.jpg`), `${digits}.jpg`, `${digits}.png`];
}
