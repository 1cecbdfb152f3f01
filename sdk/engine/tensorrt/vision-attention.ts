/**
 * Whether TensorRT made one kernel of each attention of the vision tower, read off what its inspector says of a plan.
 * Pure.
 */

/** What became of the attention of the vision tower in a plan. */
export interface VisionAttention {
  /** Attentions that one kernel does without holding their scores. */
  readonly fused: number;
  /** All of them. */
  readonly expected: number;
  /** Heads attend in groups, because the builder had no memory for all at once. */
  readonly grouped: boolean;
}

/**
 * Kernels of fused attention, by NVIDIA's word (TensorRT issue 3243) known by `_mha` in their names: `_gemm_mha_v2_…`,
 * `_gemv_mha_v1_…`, `fmha_v2_flash_attention_…`. Names of our own layers have none.
 */
const FUSED_KERNEL = /(?:_|f)mha(?:_|$)/;

/**
 * @param layers JSON as `IEngineInspector` gives it: `{"Layers": […]}` of objects with `Name` and `TacticName`, or of names
 * where a plan was built without details
 * @returns undefined for what is no such JSON
 */
export function countFusedAttention(layers: string): number | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(layers);
  } catch {
    return undefined;
  }
  const list = (parsed as { readonly Layers?: unknown } | null)?.Layers;
  if (!Array.isArray(list)) return undefined;
  return list.filter((layer: unknown) => {
    const { Name = '', TacticName = '' } =
      typeof layer === 'string' ? { Name: layer } : (layer as { readonly Name?: string; readonly TacticName?: string });
    return FUSED_KERNEL.test(Name) || FUSED_KERNEL.test(TacticName);
  }).length;
}

/** In words, with what follows from it. */
export function describeVisionAttention({ fused, expected, grouped }: VisionAttention): string {
  const groups = grouped ? ', heads in groups because there was no memory for all at once' : '';
  if (fused >= expected) return `Attention of the vision tower: fused in all ${expected} places${groups}`;
  const some = fused === 0 ? 'not fused' : `fused in ${fused} of ${expected} places`;
  return `Attention of the vision tower: ${some}${groups}; pictures take more time and memory than forecast`;
}
