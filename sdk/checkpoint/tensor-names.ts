/**
 * Two generations of tensor names exist: those published on the hub, and those of newer transformers. Both are mapped
 * to the published ones. Wrappers of training frameworks (`module.`, `_orig_mod.`, `base_model.model.`) fall away.
 */
const PATTERN =
  /^(?<wrapper>(?:(?:module|_orig_mod|base_model)\.)*?)(?:model\.)?(?<part>language_model\.model\.|language_model\.lm_head\.|language_model\.(?=layers\.|embed_tokens\.|norm\.)|lm_head\.|vision_model\.|multi_modal_projector\.)(?<rest>.+)$/;

const PUBLISHED: Readonly<Record<string, string>> = {
  'language_model.': 'language_model.model.',
  'lm_head.': 'language_model.lm_head.',
};

/** The published name, or null when the tensor is no part of the model (rotary tables, optimizer state). */
export function publishedTensorName(name: string): string | null {
  const groups = PATTERN.exec(name)?.groups;
  if (groups === undefined) return null;
  const part = groups.part!;
  return `${PUBLISHED[part] ?? part}${groups.rest}`;
}
