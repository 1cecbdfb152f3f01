/** What an answer may be that is nothing but boxes in a model's convention, as a JSON Schema. */
import { askedByPrompt } from './attention/asked-label.js';
import { type BoxConvention, MAX_LABEL_CHARACTERS, MAX_OBJECTS } from './box-reader.js';

/** What a model's manifest asks it for objects with. */
export interface BoxPrompts {
  readonly list: string;
  /** With `{label}` in it. */
  readonly locate: string;
}

/**
 * One object, or a list of them; a box of null says that the thing is not there. Coordinates are the integers of the
 * convention. That a box is not inside out is no matter of a grammar: such ones are dropped when they are read.
 */
export function boxSchema({ labelKey, boxKey, scale, bin }: BoxConvention): Readonly<Record<string, unknown>> {
  const coordinate = { type: 'integer', minimum: 0, maximum: bin === 'centre' ? scale - 1 : scale };
  const object = {
    type: 'object',
    properties: {
      [labelKey]: { type: 'string', pattern: '\\S', maxLength: MAX_LABEL_CHARACTERS },
      [boxKey]: { anyOf: [{ type: 'null' }, { type: 'array', items: coordinate, minItems: 4, maxItems: 4 }] },
    },
    required: [labelKey, boxKey],
    additionalProperties: false,
  };
  return { anyOf: [object, { type: 'array', items: object, maxItems: MAX_OBJECTS }] };
}

/** Whether a question is one of the model's own for boxes: then its answer is nothing else. */
export function asksForBoxes(question: string, { list, locate }: BoxPrompts): boolean {
  // A prompt of nothing but the label would make one of every question.
  const isTelling = locate.trim() !== '{label}';
  return question.trim() === list.trim() || (isTelling && askedByPrompt(question, locate) !== undefined);
}
