/** Grounding by the model's own words: right for models that were trained to write boxes. */
import type { Box, GroundedObject } from '../core/types.js';
import { boxToPixels, clampBox } from '../geometry/box.js';
import type { WrittenToken } from '../text/written-token.js';
import { asksForBoxes, boxSchema } from './box-grammar.js';
import { type BoxConvention, readWrittenBoxes, type WrittenBox } from './box-reader.js';
import type { Grounder } from './grounder.js';

/**
 * Reads the boxes that the model wrote into its answer. Boxes are clamped to the frame; one that is inside out or lies
 * outside the frame is dropped. Without a convention there are none.
 *
 * Score: the geometric mean of the probabilities that the model gave to the tokens of the object (label, numbers and
 * the JSON around them), 1 when the backend gives none. It tells how sure the model was of what it wrote, not how well
 * the box fits.
 *
 * @param prompts the model's own for boxes, `{label}` in `locate`; answers to them are held to the convention while they are written
 *
 * @example
 * const grounder = createTextGrounder(checkpoint.manifest.boxes);
 * const objects = await grounder.ground({ text: '{"label":"cup","box":[10,20,30,40]}', image: frame, tokens: [] });
 */
export function createTextGrounder(
  convention: BoxConvention | undefined,
  prompts?: { readonly list: string; readonly locate: string },
): Grounder {
  const schema = convention === undefined || convention.enforced === false ? undefined : boxSchema(convention);
  return {
    source: 'text',
    answerSchema: (question) => (prompts !== undefined && asksForBoxes(question, prompts) ? schema : undefined),
    ground: async ({ text, image, tokens }) => {
      if (convention === undefined) return [];
      return readWrittenBoxes(text, convention).flatMap((written): GroundedObject[] => {
        const box = clampBox(toFrame(written.numbers, convention, image.width, image.height));
        if (box === undefined) return [];
        const boxPixels = boxToPixels(box, image.width, image.height);
        return [{ label: written.label, box, boxPixels, score: score(written, tokens), source: 'text' }];
      });
    },
  };
}

/** From the model's scale to fractions of the source frame. */
function toFrame(numbers: WrittenBox['numbers'], convention: BoxConvention, width: number, height: number): Box {
  const { scale, bin, relativeTo } = convention;
  let [x1, y1, x2, y2] = numbers;
  if (bin === 'centre') {
    // Two edges in the same bin: the thing is about as wide as the bin.
    if (x1 === x2) [x1, x2] = [x1 - 0.5, x2 + 0.5];
    if (y1 === y2) [y1, y2] = [y1 - 0.5, y2 + 0.5];
    [x1, y1, x2, y2] = [x1 + 0.5, y1 + 0.5, x2 + 0.5, y2 + 0.5];
  }
  const longer = Math.max(width, height);
  const xUnit = relativeTo === 'axis' ? 1 / scale : longer / (scale * width);
  const yUnit = relativeTo === 'axis' ? 1 / scale : longer / (scale * height);
  return { x1: x1 * xUnit, y1: y1 * yUnit, x2: x2 * xUnit, y2: y2 * yUnit };
}

function score(written: WrittenBox, tokens: readonly WrittenToken[]): number {
  const own = tokens.filter(({ start, end }) => start < written.end && end > written.start);
  if (own.length === 0) return 1;
  const mean = own.reduce((sum, { logProbability }) => sum + logProbability, 0) / own.length;
  return Math.min(1, Math.exp(mean));
}
