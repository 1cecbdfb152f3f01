/** How far scores are from how often they are right. */

/** A claim with its score. */
export interface Claim {
  readonly score: number;
  readonly isRight: boolean;
}

/** Claims whose scores are alike. */
export interface ReliabilityBin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** null: empty. */
  readonly meanScore: number | null;
  /** Share of claims that are right; null: empty. */
  readonly right: number | null;
}

export interface Reliability {
  readonly count: number;
  /** Expected calibration error: the mean distance of a bin's score from its share of right claims, by its claims. */
  readonly expectedCalibrationError: number;
  readonly bins: readonly ReliabilityBin[];
}

const BINS = 10;

/** Ten bins of equal width (Guo et al. 2017, On Calibration of Modern Neural Networks). */
export function reliabilityOf(claims: readonly Claim[]): Reliability {
  const bins = Array.from({ length: BINS }, (_, i): ReliabilityBin => {
    const [from, to] = [i / BINS, (i + 1) / BINS];
    const own = claims.filter(({ score }) => Math.min(BINS - 1, Math.floor(score * BINS)) === i);
    const mean = (of: (claim: Claim) => number) =>
      own.length === 0 ? null : own.reduce((sum, claim) => sum + of(claim), 0) / own.length;
    return {
      from,
      to,
      count: own.length,
      meanScore: mean(({ score }) => score),
      right: mean((c) => Number(c.isRight)),
    };
  });
  const off = bins.reduce(
    (sum, { count, meanScore, right }) => sum + count * Math.abs((meanScore ?? 0) - (right ?? 0)),
    0,
  );
  return { count: claims.length, expectedCalibrationError: claims.length === 0 ? 0 : off / claims.length, bins };
}
