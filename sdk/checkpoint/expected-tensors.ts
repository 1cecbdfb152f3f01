import type { MllamaArchitecture } from '../architecture/architecture.js';

export interface ExpectedTensor {
  /** Published name. */
  readonly name: string;
  readonly shape: readonly number[];
  /** A text linear, which may come packed as int4. */
  readonly quantizable: boolean;
}

/** Every tensor that the architecture needs, with its shape; names as published. */
export function expectedTensors({ vision, text }: MllamaArchitecture): ExpectedTensor[] {
  const list: ExpectedTensor[] = [];
  const add = (name: string, ...shape: number[]): void => {
    list.push({ name, shape, quantizable: false });
  };
  const addLinear = (name: string, outputs: number, inputs: number): void => {
    list.push({ name: `${name}.weight`, shape: [outputs, inputs], quantizable: true });
  };
  const addNorm = (name: string, size: number): void => {
    add(`${name}.weight`, size);
    add(`${name}.bias`, size);
  };

  const d = vision.hiddenSize;
  const tokens = (vision.tileSize / vision.patchSize) ** 2 + 1;
  const tableRows = vision.supportedAspectRatios.length + 1;
  const tiles = vision.maxNumTiles;
  add('vision_model.class_embedding', d);
  add('vision_model.patch_embedding.weight', d, 3, vision.patchSize, vision.patchSize);
  for (const place of ['pre', 'post']) {
    add(`vision_model.${place}_tile_positional_embedding.embedding.weight`, tableRows, tiles * d);
    add(`vision_model.${place}_tile_positional_embedding.gate`, 1);
  }
  add('vision_model.gated_positional_embedding.embedding', tokens, d);
  add('vision_model.gated_positional_embedding.tile_embedding.weight', tableRows, tiles * tokens * d);
  add('vision_model.gated_positional_embedding.gate', 1);
  addNorm('vision_model.layernorm_pre', d);
  addNorm('vision_model.layernorm_post', d);
  for (const [stack, layers] of [
    ['transformer', vision.localLayers],
    ['global_transformer', vision.globalLayers],
  ] as const) {
    for (let i = 0; i < layers; i += 1) {
      const layer = `vision_model.${stack}.layers.${i}`;
      for (const projection of ['q', 'k', 'v', 'o']) add(`${layer}.self_attn.${projection}_proj.weight`, d, d);
      add(`${layer}.mlp.fc1.weight`, vision.intermediateSize, d);
      add(`${layer}.mlp.fc1.bias`, vision.intermediateSize);
      add(`${layer}.mlp.fc2.weight`, d, vision.intermediateSize);
      add(`${layer}.mlp.fc2.bias`, d);
      addNorm(`${layer}.input_layernorm`, d);
      addNorm(`${layer}.post_attention_layernorm`, d);
      if (stack === 'global_transformer') {
        add(`${layer}.gate_attn`, 1);
        add(`${layer}.gate_ffn`, 1);
      }
    }
  }
  add('multi_modal_projector.weight', text.hiddenSize, vision.outputDim);
  add('multi_modal_projector.bias', text.hiddenSize);

  const h = text.hiddenSize;
  const keyValue = text.keyValueHeads * text.headDim;
  add('language_model.model.embed_tokens.weight', text.embeddingRows, h);
  const cross = new Set(text.crossAttentionLayers);
  for (let i = 0; i < text.layers; i += 1) {
    const layer = `language_model.model.layers.${i}`;
    const attention = `${layer}.${cross.has(i) ? 'cross_attn' : 'self_attn'}`;
    add(`${layer}.input_layernorm.weight`, h);
    add(`${layer}.post_attention_layernorm.weight`, h);
    addLinear(`${attention}.q_proj`, h, h);
    addLinear(`${attention}.k_proj`, keyValue, h);
    addLinear(`${attention}.v_proj`, keyValue, h);
    addLinear(`${attention}.o_proj`, h, h);
    if (cross.has(i)) {
      add(`${attention}.q_norm.weight`, text.headDim);
      add(`${attention}.k_norm.weight`, text.headDim);
      add(`${layer}.cross_attn_attn_gate`, 1);
      add(`${layer}.cross_attn_mlp_gate`, 1);
    }
    addLinear(`${layer}.mlp.gate_proj`, text.intermediateSize, h);
    addLinear(`${layer}.mlp.up_proj`, text.intermediateSize, h);
    addLinear(`${layer}.mlp.down_proj`, h, text.intermediateSize);
  }
  add('language_model.model.norm.weight', h);
  addLinear('language_model.lm_head', text.vocabularySize, h);
  return list;
}
