/** Which model an answer is of, where there may be two. */
import type { Answer, VisionLanguageModel } from 'scenebus';

/** As the bus refers to a model. */
export function modelOf(
  { info }: Pick<VisionLanguageModel, 'info'>,
  { answeredBy }: Pick<Answer, 'answeredBy'> = {},
): { readonly id: string; readonly hash: string } {
  const { name: id, contentHash: hash } = answeredBy ?? info;
  return { id, hash };
}
