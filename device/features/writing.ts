import type { Answer, ChatMessage, Frame, GenerateOptions, Usage, VisionLanguageModel } from 'scenebus';

/** A question about the same frame that was answered before. */
export interface EarlierTurn {
  readonly question: string;
  readonly answer: string;
}

/**
 * Asks about a frame; with `partial`, the text is told in pieces as it is written.
 * @param earlier what was asked and answered about this frame before, oldest first
 */
export async function write(
  model: VisionLanguageModel,
  frame: Frame,
  prompt: string,
  options: GenerateOptions,
  partial: ((text: string) => void) | undefined,
  earlier: readonly EarlierTurn[] = [],
): Promise<Answer> {
  if (partial === undefined && earlier.length === 0) return await model.ask(frame, prompt, options);
  const questions = [...earlier.map(({ question }) => question), prompt];
  const messages = questions.flatMap((text, index): ChatMessage[] => {
    // The picture comes once, before the first question.
    const image = index === 0 ? [{ type: 'image', image: frame } as const] : [];
    const said = earlier[index]?.answer;
    const asked = { role: 'user', content: [...image, { type: 'text', text }] } as const;
    return said === undefined ? [asked] : [asked, { role: 'assistant', content: said }];
  });
  const { temperature = 0 } = options;
  // Earlier turns are remembered as far as the context goes, the picture always.
  const stream = model.generate({ messages, truncation: 'oldest-turns' }, { ...options, temperature });
  for await (const text of stream) if (text !== '') partial?.(text);
  return await stream.collect();
}

/**
 * A description with the boxes of what is there, where the model writes boxes: they are asked for by themselves, because
 * a description in words has none. The picture is encoded already.
 */
export async function withObjects(
  model: VisionLanguageModel,
  frame: Frame,
  description: Answer,
  options: GenerateOptions,
): Promise<Answer> {
  if (!model.info.writesBoxes || description.objects.length > 0) return description;
  const { objects, usage } = await model.ask(frame, model.info.prompts.list, options);
  return { ...description, objects, usage: addUsage(description.usage, usage) };
}

export function addUsage(sum: Usage | undefined, usage: Usage): Usage {
  if (sum === undefined) return usage;
  const names = Object.keys(usage) as (keyof Usage)[];
  return Object.fromEntries(names.map((name) => [name, sum[name] + usage[name]])) as unknown as Usage;
}
