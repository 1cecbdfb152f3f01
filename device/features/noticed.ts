/** What a person should know of an answer: of the frame, the model and the question. */

/** The answer with what else is to be told of it, each once. */
export function withNotices<T extends { readonly notices?: readonly string[] | undefined }>(
  answer: T,
  others: readonly string[],
): T {
  const notices = [...new Set([...others, ...(answer.notices ?? [])])];
  return notices.length === 0 ? answer : { ...answer, notices };
}
