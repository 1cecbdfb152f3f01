/** From what a source says of itself to how often it is right. */

/** logit(probability) = logit(score) / temperature + bias. */
export interface ScoreScaling {
  readonly temperature: number;
  readonly bias: number;
}

/** logit(probability) = score · logit(score) + yes · logit(P(yes)) + bias. */
export interface VerifiedScaling {
  readonly score: number;
  readonly yes: number;
  readonly bias: number;
  /** A box holds from this probability on. Absent: where P(yes) ≥ 0.5. */
  readonly threshold?: number | undefined;
}

/** Both count alike: for models whose folder says nothing. */
const PLAIN_VERIFIED: VerifiedScaling = { score: 0.5, yes: 0.5, bias: 0 };
/** Beyond ±20 a logit says nothing more: 2 in 10⁹. */
const MOST_LOGIT = 20;

/** Log-odds, bounded. */
export function logit(probability: number): number {
  const value = Math.log(probability / (1 - probability));
  return Math.max(-MOST_LOGIT, Math.min(MOST_LOGIT, value));
}

/** The inverse of `logit`. */
export function probabilityOf(value: number): number {
  return 1 / (1 + Math.exp(-value));
}

/** A score as a probability, 0–1; unchanged without a scaling. */
export function scaleScore(score: number, scaling: ScoreScaling | undefined): number {
  if (scaling === undefined) return score;
  return probabilityOf(logit(score) / scaling.temperature + scaling.bias);
}

/**
 * The score of a box that the model was asked about, and whether it holds.
 * @param score scaled, 0–1
 * @param yes P(yes), 0–1
 */
export function verifyScore(
  score: number,
  yes: number,
  scaling: VerifiedScaling = PLAIN_VERIFIED,
): { readonly score: number; readonly verified: boolean } {
  const combined = probabilityOf(scaling.score * logit(score) + scaling.yes * logit(yes) + scaling.bias);
  const { threshold } = scaling;
  return { score: combined, verified: threshold === undefined ? yes >= 0.5 : combined >= threshold };
}
