/** The tasks of `scenebus evaluate`: how each reads its data, what it asks, and how answers are scored. */
import { z } from 'zod';
import type { Box, CallOptions, GroundedObject } from '#sdk/core/types.js';
import { intersectionOverUnion } from '#sdk/geometry/box.js';
import type { ModelImage, Usage, VisionLanguageModel } from '#sdk/model/types.js';
import type { DataItem, DataSet, DataSource } from './data/items.js';
import { readCaptions, readPresence, readReferences } from './data/places.js';
import { type Choices, readChartQa, readChoices, readDocVqa, readPope, readVqa } from './data/questions.js';
import { accuracyMeasure, type Measure, meanMeasure } from './measures.js';
import { captionWords } from './metrics/caption-words.js';
import { bleu4, bleuStatistics, ciderD } from './metrics/captions.js';
import { anls, popeSaysYes, relaxedCorrect } from './metrics/text-answers.js';
import { normalisedAccuracy, vqaAccuracy } from './metrics/vqa.js';
import type { TaskName } from './task-names.js';

const unit = z.number();
/** What a model answered to one item. */
export const saidSchema = z.object({
  text: z.string(),
  /** Only of tasks about places: what boxes it gave, best first, at most 16. */
  boxes: z
    .array(
      z.object({
        box: z.tuple([unit, unit, unit, unit]),
        score: z.number(),
        /** Where it points: the peak of its attention, else the box's centre. */
        point: z.tuple([unit, unit]),
      }),
    )
    .optional(),
  /** Only of choices: the likelihood of each among them. */
  probabilities: z.array(z.number()).optional(),
});
export type Said = z.output<typeof saidSchema>;

export interface TaskAnswer {
  readonly said: Said;
  readonly usage: Usage;
}

type AskingModel = Pick<VisionLanguageModel, 'ask' | 'decide' | 'info'>;
type AskOptions = CallOptions & { readonly caller: string; readonly maxNewTokens: number };

export interface Task<Expected> {
  /** With `{question}`; undefined: the model's own prompt for such a question. */
  readonly prompt: string | undefined;
  readonly maxNewTokens: number;
  /** Boxes are asked for: a model that gives none is refused before anything is asked. */
  readonly needsBoxes: boolean;
  read(source: DataSource): Promise<DataSet<Expected>>;
  /** The whole question as the model gets it. */
  write(template: string, item: DataItem<Expected>): string;
  /** The template where none was given and `prompt` is undefined. */
  ownPrompt(info: VisionLanguageModel['info']): string;
  ask(
    model: AskingModel,
    image: ModelImage,
    question: string,
    item: DataItem<Expected>,
    options: AskOptions,
  ): Promise<TaskAnswer>;
  /** The first is the one that the task is known by. */
  measures(items: readonly DataItem<Expected>[], said: readonly Said[]): Measure[];
}

const SHORT = '{question}\nAnswer the question using a single word or phrase.';
const MOST_BOXES = 16;

async function askText(
  model: AskingModel,
  image: ModelImage,
  question: string,
  options: AskOptions,
): Promise<TaskAnswer> {
  const { text, usage } = await model.ask(image, question, { ...options, temperature: 0 });
  return { said: { text: text.trim() }, usage };
}

const written = {
  needsBoxes: false,
  write: (template: string, item: DataItem<unknown>): string => template.replaceAll('{question}', () => item.question),
  ownPrompt: () => '{question}',
  ask: (...[model, image, question, , options]: Parameters<Task<never>['ask']>) =>
    askText(model, image, question, options),
};

const located = {
  ...written,
  needsBoxes: true,
  prompt: undefined,
  maxNewTokens: 128,
  ownPrompt: ({ prompts }: VisionLanguageModel['info']) => prompts.locate,
  write: (template: string, { question }: DataItem<unknown>): string =>
    template.replaceAll('{label}', () => question).replaceAll('{question}', () => question),
  async ask(...[model, image, question, , options]: Parameters<Task<never>['ask']>): Promise<TaskAnswer> {
    const { text, usage, objects } = await model.ask(image, question, { ...options, temperature: 0 });
    return { said: { text: text.trim(), boxes: objects.slice(0, MOST_BOXES).map(boxOf) }, usage };
  },
};

function boxOf({ box: { x1, y1, x2, y2 }, score, peak }: GroundedObject): NonNullable<Said['boxes']>[number] {
  return { box: [x1, y1, x2, y2], score, point: [peak?.x ?? (x1 + x2) / 2, peak?.y ?? (y1 + y2) / 2] };
}

const vqa: Task<readonly string[]> = {
  ...written,
  prompt: SHORT,
  maxNewTokens: 32,
  read: readVqa,
  measures: (items, said) => [
    meanMeasure(
      'accuracy',
      items.map(({ expected }, i) => vqaAccuracy(said[i]!.text, expected)),
    ),
    meanMeasure(
      'accuracyNormalised',
      items.map(({ expected }, i) => normalisedAccuracy(said[i]!.text, expected)),
    ),
  ],
};

const docvqa: Task<readonly string[]> = {
  ...written,
  prompt: '{question}\nAnswer with the text as it stands in the document, and nothing else.',
  maxNewTokens: 64,
  read: readDocVqa,
  measures: (items, said) => [
    meanMeasure(
      'anls',
      items.map(({ expected }, i) => anls(said[i]!.text, expected)),
    ),
    accuracyMeasure(
      'exact',
      items.map(({ expected }, i) => expected.some((answer) => anls(said[i]!.text, [answer]) === 1)),
    ),
  ],
};

const chartqa: Task<string> = {
  ...written,
  prompt: '{question}\nAnswer with a single word or number.',
  maxNewTokens: 32,
  read: readChartQa,
  measures: (items, said) => [
    // A full stop behind the answer is the chat's, not the chart's.
    accuracyMeasure(
      'relaxedAccuracy',
      items.map(({ expected }, i) => relaxedCorrect(said[i]!.text.replace(/\.$/, ''), expected)),
    ),
  ],
};

const pope: Task<boolean> = {
  ...written,
  prompt: '{question}',
  maxNewTokens: 32,
  read: readPope,
  measures: (items, said) => {
    const yes = said.map(({ text }) => popeSaysYes(text));
    const truth = items.map(({ expected }) => expected);
    const counts = yes.map((each, i) => [each && truth[i], each && !truth[i], !each && truth[i]].map(Number));
    const ofCounts = (
      name: string,
      value: (truePositive: number, falsePositive: number, falseNegative: number) => number,
    ) => ({
      name,
      rows: counts,
      value: ([a, b, c]: readonly number[]) => value(a!, b!, c!),
      ofItem: () => null,
      isAccuracy: false,
    });
    return [
      accuracyMeasure(
        'accuracy',
        yes.map((each, i) => each === truth[i]),
      ),
      ofCounts('precision', (tp, fp) => tp / (tp + fp)),
      ofCounts('recall', (tp, _, fn) => tp / (tp + fn)),
      ofCounts('f1', (tp, fp, fn) => (2 * tp) / (2 * tp + fp + fn)),
      meanMeasure('yesRatio', yes.map(Number)),
    ];
  },
};

const refcoco: Task<Box> = {
  ...located,
  read: readReferences,
  measures: (items, said) => {
    const best = said.map(({ boxes }) => boxes?.[0]);
    const overlaps = items.map(({ expected }, i) => {
      const [x1, y1, x2, y2] = best[i]?.box ?? [0, 0, 0, 0];
      return best[i] === undefined ? 0 : intersectionOverUnion({ x1, y1, x2, y2 }, expected);
    });
    const pointed = items.map(({ expected: { x1, y1, x2, y2 } }, i) => {
      const [x, y] = best[i]?.point ?? [Number.NaN, Number.NaN];
      return x >= x1 && x <= x2 && y >= y1 && y <= y2;
    });
    return [
      accuracyMeasure(
        'accuracy@0.5',
        overlaps.map((overlap) => overlap >= 0.5),
      ),
      accuracyMeasure('pointing', pointed),
      meanMeasure('meanIoU', overlaps),
      accuracyMeasure(
        'answeredWithBox',
        best.map((box) => box !== undefined),
      ),
    ];
  },
};

const absent: Task<boolean> = {
  ...located,
  read: readPresence,
  measures: (items, said) => {
    const found = said.map(({ boxes }) => (boxes?.length ?? 0) > 0);
    const only = (isThere: boolean) =>
      items.map(({ expected }, i) => (expected === isThere ? found[i] === isThere : null));
    return [
      accuracyMeasure('rejected', only(false)),
      accuracyMeasure('found', only(true)),
      accuracyMeasure(
        'accuracy',
        items.map(({ expected }, i) => found[i] === expected),
      ),
    ];
  },
};

const caption: Task<readonly string[]> = {
  ...written,
  prompt: undefined,
  ownPrompt: ({ prompts }) => prompts.describe,
  maxNewTokens: 96,
  read: readCaptions,
  measures: (items, said) => {
    const captioned = items.map(({ expected }, i) => ({
      said: captionWords(said[i]!.text),
      references: expected.map(captionWords),
    }));
    const bleu = captioned.map(bleuStatistics);
    return [
      meanMeasure('ciderD', ciderD(captioned)),
      { name: 'bleu4', rows: bleu, value: (sums) => bleu4(sums), ofItem: (i) => bleu4(bleu[i]!), isAccuracy: false },
    ];
  },
};

const letters = (count: number): string[] => Array.from({ length: count }, (_, i) => String.fromCharCode(65 + i));

const mmmu: Task<Choices> = {
  ...written,
  prompt: "{question}\n{options}\nAnswer with the option's letter from the given choices directly.",
  maxNewTokens: 1,
  read: readChoices,
  write: (template, { question, expected: { options } }) => {
    const lines = options.map((option, i) => `(${letters(options.length)[i]}) ${option}`).join('\n');
    // MMMU marks the place of its pictures; there is one, and it comes first.
    const asked = question.replaceAll(/\s*<image \d>\s*/g, ' ').trim();
    return template.replaceAll('{question}', () => asked).replaceAll('{options}', () => lines);
  },
  async ask(model, image, question, { expected: { options } }, { signal, caller }) {
    const choices = letters(options.length);
    const decision = await model.decide(image, question, { type: 'choice', choices }, { signal, caller });
    const probabilities = choices.map((choice) => decision.options.find(({ value }) => value === choice)!.probability);
    return { said: { text: String(decision.value), probabilities }, usage: decision.usage };
  },
  measures: (items, said) => [
    accuracyMeasure(
      'accuracy',
      items.map(({ expected: { options, right } }, i) => said[i]!.text === letters(options.length)[right]),
    ),
    meanMeasure(
      'likelihoodOfRight',
      items.map(({ expected: { right } }, i) => said[i]!.probabilities?.[right] ?? 0),
    ),
  ],
};

/** What a task expects is its own affair: only its own reader makes it and only its own measures read it. */
export type AnyTask = Task<unknown>;

export const TASKS = { vqa, docvqa, chartqa, refcoco, pope, caption, mmmu, absent } as unknown as Readonly<
  Record<TaskName, AnyTask>
>;
