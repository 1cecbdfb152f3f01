/** Which grounders a model's answers go through. */
import { SdkError } from '../core/errors.js';
import { type AttentionCalibration, createAttentionGrounder } from './attention/index.js';
import type { BoxPrompts } from './box-grammar.js';
import type { BoxConvention } from './box-reader.js';
import type { Grounder } from './grounder.js';
import { createTextGrounder } from './text-grounder.js';

/**
 * `text`: boxes that the model wrote. `attention`: from where the model looks, with heads that `scenebus
 * calibrate-grounding` found. `auto`: `text` of a model that writes boxes, else `attention` of one with such heads.
 * Anything else brings its own.
 */
export type GrounderChoice = 'auto' | 'text' | 'attention' | Grounder;

/** What grounders need to know of a model. */
export interface GroundingModel {
  readonly name: string;
  /** undefined: it writes none. */
  readonly boxes: BoxConvention | undefined;
  /** undefined: not calibrated. */
  readonly attention: AttentionCalibration | undefined;
  /** What the model's manifest asks it for boxes. */
  readonly prompts: BoxPrompts;
  /** The backend hands out attention. */
  readonly attentionTaps: boolean;
}

/**
 * One grounder of several: what each finds, in their order; every object says its source.
 * @throws SdkError ERR_ARGUMENT_INVALID for what is no grounder, ERR_MODEL_UNSUPPORTED and ERR_ENGINE_INCOMPATIBLE for
 * `attention` where the model or its backend has none
 */
export function chooseGrounder(choice: GrounderChoice | readonly GrounderChoice[], model: GroundingModel): Grounder {
  const chosen = (Array.isArray(choice) ? choice : [choice]).map((each: GrounderChoice): Grounder => {
    if (each === 'auto') return automatic(model);
    if (each === 'text') return createTextGrounder(model.boxes, model.prompts);
    if (each === 'attention') return byAttention(model);
    if (typeof each?.ground === 'function') return each;
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected grounder as "auto", "text", "attention", a Grounder { source, ground }, or a list of these but received ${JSON.stringify(each) ?? String(each)}.`,
    );
  });
  const [only] = chosen;
  if (only !== undefined && chosen.length === 1) return only;
  return {
    source: only?.source ?? 'text',
    answerSchema: (question) =>
      chosen.map((each) => each.answerSchema?.(question)).find((schema) => schema !== undefined),
    ground: async (request, options) => {
      const found = [];
      for (const grounder of chosen) found.push(...(await grounder.ground(request, options)));
      return found;
    },
  };
}

function automatic(model: GroundingModel): Grounder {
  const { boxes, prompts, attention, attentionTaps } = model;
  return boxes === undefined && attention !== undefined && attentionTaps
    ? byAttention(model)
    : createTextGrounder(boxes, prompts);
}

function byAttention({ name, attention, attentionTaps, prompts }: GroundingModel): Grounder {
  if (attention === undefined) {
    throw new SdkError(
      'ERR_MODEL_UNSUPPORTED',
      `Expected heads that localise in the scenebus.json of ${name} for the grounder "attention" but there are none. Find them once: scenebus calibrate-grounding.`,
    );
  }
  if (!attentionTaps) {
    throw new SdkError(
      'ERR_ENGINE_INCOMPATIBLE',
      'Expected a backend that hands out attention for the grounder "attention". Load the model with attentionTaps: true, or leave that out: it is on where heads are known.',
    );
  }
  return createAttentionGrounder(attention, prompts.locate);
}
