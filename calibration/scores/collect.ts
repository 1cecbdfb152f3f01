/** What a model says about scenes that are known, and whether it is so. */
import { join } from 'node:path';
import { z } from 'zod';
import type { Box, CallOptions } from '#sdk/core/types.js';
import { intersectionOverUnion } from '#sdk/geometry/box.js';
import { cropToBox, decodeImage, type PixelImage } from '#sdk/image/index.js';
import type { VisionLanguageModel } from '#sdk/model/types.js';
import { VERIFY_MARGIN, verifyQuestion } from '#sdk/model/verification.js';

/** A picture and everything that is in it. */
export interface KnownScene {
  /** File within the folder of the scenes. */
  readonly image: string;
  readonly objects: readonly { readonly label: string; readonly box: readonly [number, number, number, number] }[];
}

const unit = z.number().min(0).max(1);

/** One label that was looked for in one picture. */
export const searchSchema = z.strictObject({
  label: z.string(),
  isThere: z.boolean(),
  /** P(yes) about the whole picture. */
  yes: unit,
  boxes: z.array(
    z.strictObject({
      source: z.enum(['text', 'attention', 'detector']),
      score: unit,
      /** P(yes) about the cut-out. */
      yes: unit,
      /** There is such a thing, and the box overlaps it by half (IoU ≥ 0.5). */
      isRight: z.boolean(),
      /** IoU with the nearest thing of that name; 0 when there is none. */
      overlap: unit,
      /** The box's peak, else its centre, lies in a thing of that name. */
      pointsAt: z.boolean(),
    }),
  ),
});
export type SearchRecord = z.output<typeof searchSchema>;
export type BoxRecord = SearchRecord['boxes'][number];

export interface CollectOptions extends CallOptions {
  readonly folder: string;
  /** With `{label}` in them. */
  readonly prompts: { readonly locate: string; readonly verify: string };
  readonly margin?: number | undefined;
}

/** Of each picture so many that are in it and as many that are not. */
const SEARCHES = 2;

/**
 * Looks in one picture for things that are there and for others that are not but are like one that is: that is what is
 * confused.
 * @param model with raw scores
 * @param labels all that there are in the data, sorted
 * @param turn other things for every scene, without chance: the same data gives the same records
 */
export async function searchScene(
  model: Pick<VisionLanguageModel, 'ask' | 'decide'>,
  scene: KnownScene,
  labels: readonly string[],
  turn: number,
  { folder, prompts, margin = VERIFY_MARGIN, signal }: CollectOptions,
): Promise<SearchRecord[]> {
  const image = await decodeImage(join(folder, scene.image), { signal });
  const probabilityOfYes = async (view: PixelImage, label: string): Promise<number> => {
    const decision = await model.decide(view, verifyQuestion(prompts.verify, label), { type: 'yes-no' }, { signal });
    return decision.value === true ? decision.probability : 1 - decision.probability;
  };
  const records: SearchRecord[] = [];
  for (const { label, isThere } of wantedIn(scene, labels, turn)) {
    const yes = await probabilityOfYes(image, label);
    const { objects } = await model.ask(
      image,
      prompts.locate.replace('{label}', () => label),
      { signal },
    );
    const boxes: BoxRecord[] = [];
    const truths = scene.objects.filter((each) => each.label === label).map((each) => toBox(each.box));
    for (const { box, score, source, peak } of objects) {
      const overlap = Math.max(0, ...truths.map((truth) => intersectionOverUnion(box, truth)));
      const { x, y } = peak ?? { x: (box.x1 + box.x2) / 2, y: (box.y1 + box.y2) / 2 };
      const pointsAt = truths.some(({ x1, y1, x2, y2 }) => x >= x1 && x <= x2 && y >= y1 && y <= y2);
      const yesAboutBox = await probabilityOfYes(cropToBox(image, box, margin), label);
      boxes.push({ source, score, yes: yesAboutBox, isRight: overlap >= 0.5, overlap, pointsAt });
    }
    records.push({ label, isThere, yes, boxes });
  }
  return records;
}

function wantedIn(
  { objects }: KnownScene,
  labels: readonly string[],
  turn: number,
): { readonly label: string; readonly isThere: boolean }[] {
  const there = [...new Set(objects.map(({ label }) => label))];
  const wordsThere = new Set(there.flatMap((label) => label.split(' ')));
  const shared = (label: string) => label.split(' ').filter((word) => wordsThere.has(word)).length;
  const others = labels.filter((label) => !there.includes(label));
  // Those that share most words with what is there come first.
  const absent = rotated(others, turn * 7).sort((a, b) => shared(b) - shared(a));
  return [
    ...rotated(there, turn)
      .slice(0, SEARCHES)
      .map((label) => ({ label, isThere: true })),
    ...absent.slice(0, SEARCHES).map((label) => ({ label, isThere: false })),
  ];
}

function rotated<T>(values: readonly T[], by: number): T[] {
  return values.map((_, i) => values[(i + by) % values.length]!);
}

function toBox([x1, y1, x2, y2]: KnownScene['objects'][number]['box']): Box {
  return { x1, y1, x2, y2 };
}
