import { describe, expect, test } from 'vitest';
import { architectureOf, configSchema } from '#sdk/checkpoint/config.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import { publishedTensorName } from '#sdk/checkpoint/tensor-names.js';

describe('expectedTensors', () => {
  test('counts the published 11B checkpoint to the parameter, from class defaults alone', () => {
    // The instruct model's config differs from the class defaults in its tile size only.
    const config = configSchema.parse({ model_type: 'mllama', vision_config: { image_size: 560 } });
    const { architecture, problems } = architectureOf(config);
    expect(problems).toEqual([]);
    const tensors = expectedTensors(architecture);
    expect(tensors.length).toBe(906);
    const count = (part: string): number =>
      tensors
        .filter(({ name }) => name.startsWith(part))
        .reduce((sum, { shape }) => sum + shape.reduce((product, side) => product * side, 1), 0);
    expect(count('language_model.')).toBe(9_775_192_080);
    expect(count('vision_model.')).toBe(863_567_379);
    expect(count('multi_modal_projector.')).toBe(31_461_376);
  });
});

describe('publishedTensorName', () => {
  test.each([
    ['language_model.model.layers.0.mlp.up_proj.weight', 'language_model.model.layers.0.mlp.up_proj.weight'],
    ['model.language_model.layers.0.mlp.up_proj.weight', 'language_model.model.layers.0.mlp.up_proj.weight'],
    ['model.language_model.embed_tokens.weight', 'language_model.model.embed_tokens.weight'],
    ['model.language_model.norm.weight', 'language_model.model.norm.weight'],
    ['lm_head.weight', 'language_model.lm_head.weight'],
    ['language_model.lm_head.weight', 'language_model.lm_head.weight'],
    ['model.vision_model.class_embedding', 'vision_model.class_embedding'],
    ['base_model.model.vision_model.class_embedding', 'vision_model.class_embedding'],
    ['module.model.multi_modal_projector.bias', 'multi_modal_projector.bias'],
    [
      'model.language_model.layers.3.cross_attn.q_proj.weight_packed',
      'language_model.model.layers.3.cross_attn.q_proj.weight_packed',
    ],
    ['model.layers.0.mlp.up_proj.weight', null],
    ['my_vision_model.x', null],
    ['vision_model.', null],
  ])('maps %s', (name, published) => {
    expect(publishedTensorName(name)).toBe(published);
  });
});
