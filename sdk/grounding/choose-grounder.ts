/** Which grounders a model's answers go through. */
import { SdkError } from '../core/errors.js';
import type { BoxConvention } from './box-reader.js';
import type { Grounder } from './grounder.js';
import { createTextGrounder } from './text-grounder.js';

/** `text`: boxes that the model wrote. Anything else brings its own. */
export type GrounderChoice = 'text' | Grounder;

/**
 * One grounder of several: what each finds, in their order; every object says its source.
 * @throws SdkError ERR_ARGUMENT_INVALID for what is no grounder
 */
export function chooseGrounder(
  choice: GrounderChoice | readonly GrounderChoice[],
  convention: BoxConvention | undefined,
): Grounder {
  const chosen = (Array.isArray(choice) ? choice : [choice]).map((each: GrounderChoice): Grounder => {
    if (each === 'text') return createTextGrounder(convention);
    if (typeof each?.ground === 'function') return each;
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected grounder as "text", a Grounder { source, ground }, or a list of these but received ${JSON.stringify(each) ?? String(each)}.`,
    );
  });
  const [only] = chosen;
  if (only !== undefined && chosen.length === 1) return only;
  return {
    source: only?.source ?? 'text',
    ground: async (request, options) => {
      const found = [];
      for (const grounder of chosen) found.push(...(await grounder.ground(request, options)));
      return found;
    },
  };
}
