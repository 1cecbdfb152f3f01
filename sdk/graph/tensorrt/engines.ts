/** The engines that a model needs, of which graphs, within which bounds. */

/**
 * - `vision-grouped`: the tower whose heads attend in groups one after another, for where attention is not fused
 * - `decoder-queries`: the decoder that also gives the queries of its cross layers (`cross_query.{i}`)
 */
export const LOWERED_GRAPHS = [
  'vision',
  'vision-grouped',
  'cross-kv',
  'decoder',
  'decoder-text',
  'decoder-queries',
] as const;
export type LoweredGraphName = (typeof LOWERED_GRAPHS)[number];

export interface ProfileRange {
  readonly min: number;
  readonly opt: number;
  readonly max: number;
}

export interface LoweredEngine {
  readonly name:
    | 'vision'
    | 'vision-full'
    | 'vision-grouped'
    | 'vision-full-grouped'
    | 'cross-kv'
    | 'prefill'
    | 'decode'
    | 'prefill-text'
    | 'decode-text'
    | 'prefill-queries'
    | 'decode-queries';
  readonly graph: LoweredGraphName;
  /** Bounds of every size of the graph's inputs; TensorRT works out shapes with all at the minimum, or all at the maximum. */
  readonly profile: Readonly<Record<string, ProfileRange>>;
}
