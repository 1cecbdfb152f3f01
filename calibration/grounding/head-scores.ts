/** Which heads look at what a prompt asks for, told from how they look alone: no place of anything has to be known. */
import type { HeadId } from '#sdk/engine/engine.js';
import { type Attended, attentionMap } from '#sdk/grounding/attention/index.js';

/** Attention of every head for two names in one picture: what is looked for, and something else that is there. */
export interface ContrastPair {
  readonly target: Attended;
  readonly contrast: Attended;
}

/** Means over pictures; each 0–1, and 1 is best. */
export interface HeadScore extends HeadId {
  /** Attention on patches of the picture, not on class tokens. */
  readonly mass: number;
  /** 1 − entropy over the patches as a share of the largest that there can be: one place, not all. */
  readonly concentration: number;
  /** 1 − Bhattacharyya coefficient of the maps of target and contrast: another name, another place. */
  readonly contrast: number;
  /** The product of the three, picture by picture. */
  readonly score: number;
}

/** Scores of all heads, the best first. @param pairs with the attention of all `heads`, in their order */
export function scoreHeads(heads: readonly HeadId[], pairs: readonly ContrastPair[]): HeadScore[] {
  const scores = heads.map((head, i): HeadScore => {
    const sums = { mass: 0, concentration: 0, contrast: 0, score: 0 };
    for (const pair of pairs) {
      const [target, contrast] = [mapOf(pair.target, i), mapOf(pair.contrast, i)];
      const own = {
        mass: target.mass,
        concentration: 1 - entropyShare(target.shares),
        contrast: 1 - overlapOf(target.shares, contrast.shares),
      };
      sums.mass += own.mass;
      sums.concentration += own.concentration;
      sums.contrast += own.contrast;
      sums.score += own.mass * own.concentration * own.contrast;
    }
    const count = Math.max(1, pairs.length);
    return {
      ...head,
      mass: sums.mass / count,
      concentration: sums.concentration / count,
      contrast: sums.contrast / count,
      score: sums.score / count,
    };
  });
  return scores.sort((a, b) => b.score - a.score);
}

/** Heads at least half as good as the best, at most `most`: others blur the map. */
export function chooseHeads(scores: readonly HeadScore[], most: number): HeadScore[] {
  const best = scores[0]?.score ?? 0;
  return scores.slice(0, most).filter(({ score }) => score >= best / 2);
}

/** Some heads of all. */
export function onlyHeads({ weights, heads, geometry }: Attended, wanted: readonly number[]): Attended {
  const tokens = weights.length / heads;
  const chosen = new Float32Array(wanted.length * tokens);
  for (const [i, head] of wanted.entries())
    chosen.set(weights.subarray(head * tokens, (head + 1) * tokens), i * tokens);
  return { weights: chosen, heads: wanted.length, geometry };
}

function mapOf(attended: Attended, head: number): { readonly mass: number; readonly shares: Float64Array } {
  // The map of one head holds square roots of its weights.
  const { values } = attentionMap(onlyHeads(attended, [head]));
  const shares = values.map((value) => value * value);
  const mass = shares.reduce((sum, value) => sum + value, 0);
  return { mass: Math.min(1, mass), shares: shares.map((value) => value / Math.max(mass, Number.MIN_VALUE)) };
}

function entropyShare(shares: Float64Array): number {
  const entropy = shares.reduce((sum, share) => (share > 0 ? sum - share * Math.log(share) : sum), 0);
  return shares.length < 2 ? 0 : entropy / Math.log(shares.length);
}

function overlapOf(a: Float64Array, b: Float64Array): number {
  return Math.min(
    1,
    a.reduce((sum, value, i) => sum + Math.sqrt(value * b[i]!), 0),
  );
}
