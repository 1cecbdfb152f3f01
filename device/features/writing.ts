import type { Answer, Frame, GenerateOptions, VisionLanguageModel } from 'scenebus';

/** Asks about a frame; with `partial`, the text is told in pieces as it is written. */
export async function write(
  model: VisionLanguageModel,
  frame: Frame,
  prompt: string,
  options: GenerateOptions,
  partial: ((text: string) => void) | undefined,
): Promise<Answer> {
  if (partial === undefined) return await model.ask(frame, prompt, options);
  const content = [{ type: 'image', image: frame } as const, { type: 'text', text: prompt } as const];
  const { temperature = 0 } = options;
  const stream = model.generate({ messages: [{ role: 'user', content }] }, { ...options, temperature });
  for await (const text of stream) if (text !== '') partial(text);
  return await stream.collect();
}
