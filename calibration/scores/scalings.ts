/** From records to the scalings of a model folder, and what they are worth on scenes that they were not made from. */
import type { GroundedObject } from '#sdk/core/types.js';
import { logit, type ScoreScaling, scaleScore, type VerifiedScaling, verifyScore } from '#sdk/grounding/index.js';
import type { BoxRecord, SearchRecord } from './collect.js';
import { fitLogistic } from './logistic.js';
import { type Claim, type Reliability, reliabilityOf } from './reliability.js';

type Source = GroundedObject['source'];
const SOURCES: readonly Source[] = ['text', 'attention', 'detector'];

/** As in `scenebus.json`; of a detector `detector.json` has the first. */
export interface Scalings {
  readonly boxes: { readonly [S in Source]?: ScoreScaling };
  readonly verified: { readonly [S in Source]?: VerifiedScaling };
  readonly yesNo: ScoreScaling;
}

export interface BeforeAndAfter {
  readonly before: Reliability;
  readonly after: Reliability;
}

/** Searches for what is not there that a box came of, and for what is there that a right one did. */
export interface SearchRates {
  readonly falseAlarms: number;
  readonly recall: number;
  readonly absent: number;
  readonly present: number;
}

/** How well one source finds the place of things that are there: by its surest box, of all searches for such a thing. */
export interface Localisation {
  /** Peak (of attention) or centre of the box inside the thing. */
  readonly pointing: number;
  /** Overlaps it by half (IoU ≥ 0.5). */
  readonly half: number;
  /** Mean IoU; 0 where nothing was found. */
  readonly meanOverlap: number;
  readonly searches: SearchRates;
}

export interface ScoreReport {
  readonly scenes: number;
  /** `text`, `detector` …, `verified text` …, `yes or no`. */
  readonly reliability: Readonly<Record<string, BeforeAndAfter>>;
  readonly searches: {
    readonly unverified: SearchRates;
    readonly verified: SearchRates;
    /** By the score after verification, at the least score that keeps 95 % of the right boxes that were found. */
    readonly atRecall95: SearchRates & { readonly leastScore: number };
  };
  readonly sources: {
    readonly [S in Source]?: {
      readonly unverified: Localisation;
      /** Refuted boxes left out. */
      readonly verified: Localisation;
      /** By the scaled score alone, at the least that keeps 95 % of the right boxes. */
      readonly atRecall95: SearchRates & { readonly leastScore: number };
      /** The same by the score after verification. */
      readonly verifiedAtRecall95: SearchRates & { readonly leastScore: number };
    };
  };
}

/** Fewer claims, right or wrong together, say nothing about probabilities. */
const LEAST_CLAIMS = 30;

/** @param searches those of one scene together */
export function fitScalings(searches: readonly (readonly SearchRecord[])[]): Scalings {
  const flat = searches.flat();
  const boxesOf = (source: Source) => flat.flatMap(({ boxes }) => boxes.filter((box) => box.source === source));
  const present = SOURCES.map((source) => [source, boxesOf(source)] as const).filter(
    ([, boxes]) => boxes.length >= LEAST_CLAIMS,
  );
  const boxes = present.map(([source, own]) => [source, scalingOf(own.map(toClaim))] as const);
  const yesNo = scalingOf(flat.map(({ yes, isThere }) => ({ score: yes, isRight: isThere })));
  const verified = present.map(([source, own]) => {
    const scaling = Object.fromEntries(boxes)[source];
    const rows = own.map(({ score, yes }) => [logit(scaleScore(score, scaling)), logit(scaleScore(yes, yesNo))]);
    const { weights, bias } = fitLogistic(
      rows,
      own.map(({ isRight }) => isRight),
    );
    const combined = { score: rounded(weights[0]!), yes: rounded(weights[1]!), bias: rounded(bias) };
    const judge = ({ score, yes }: BoxRecord) =>
      verifyScore(scaleScore(score, scaling), scaleScore(yes, yesNo), combined);
    const threshold = thresholdOf(flat, (box) => (box.source === source ? judge(box) : undefined));
    return [source, { ...combined, ...(threshold === undefined ? {} : { threshold }) }] as const;
  });
  return {
    boxes: Object.fromEntries(boxes),
    verified: Object.fromEntries(verified),
    yesNo,
  };
}

/**
 * The least score, from 0.5 on, with no more boxes for what is not there than where P(yes) about the cut-out alone decides:
 * that is fitted to whole pictures, and says no to more of what is there.
 * @param judge undefined for boxes of other sources
 * @returns undefined where it would lose right boxes
 */
function thresholdOf(
  searches: readonly SearchRecord[],
  judge: (box: BoxRecord) => ReturnType<typeof verifyScore> | undefined,
): number | undefined {
  const absent = searches
    .filter(({ isThere }) => !isThere)
    .map(({ boxes }) => boxes.flatMap((box) => judge(box) ?? []));
  const alarms = absent.filter((judged) => judged.some(({ verified }) => verified)).length;
  const scores = absent.map((judged) => Math.max(0, ...judged.map(({ score }) => score))).sort((a, b) => b - a);
  const threshold = rounded(Math.max(0.5, Math.floor((scores[alarms] ?? 0) * 1e4) / 1e4 + 1e-4));
  const right = searches.flatMap(({ boxes }) =>
    boxes.filter(({ isRight }) => isRight).flatMap((box) => judge(box) ?? []),
  );
  const kept = right.filter(({ score }) => score >= threshold).length;
  return kept < right.filter(({ verified }) => verified).length ? undefined : threshold;
}

function scalingOf(claims: readonly Claim[]): ScoreScaling {
  const { weights, bias } = fitLogistic(
    claims.map(({ score }) => [logit(score)]),
    claims.map(({ isRight }) => isRight),
  );
  // A score that says nothing becomes the same probability for all.
  return { temperature: rounded(1 / Math.max(weights[0]!, 1e-3)), bias: rounded(bias) };
}

/** @param searches of scenes that the scalings were not fitted to */
export function reportOf(searches: readonly (readonly SearchRecord[])[], scalings: Scalings): ScoreReport {
  const flat = searches.flat();
  const boxes = flat.flatMap((search) => search.boxes);
  const reliability: Record<string, BeforeAndAfter> = {};
  const compare = (name: string, before: readonly Claim[], after: readonly Claim[]) => {
    if (before.length > 0) reliability[name] = { before: reliabilityOf(before), after: reliabilityOf(after) };
  };
  const scaled = (box: BoxRecord) => scaleScore(box.score, scalings.boxes[box.source]);
  const yesOf = (box: BoxRecord) => scaleScore(box.yes, scalings.yesNo);
  const judged = (box: BoxRecord) => verifyScore(scaled(box), yesOf(box), scalings.verified[box.source]);
  const combined = (box: BoxRecord) => judged(box).score;
  for (const source of SOURCES) {
    const own = boxes.filter((box) => box.source === source);
    compare(
      source,
      own.map(toClaim),
      own.map((box) => ({ ...toClaim(box), score: scaled(box) })),
    );
    const plain = own.map((box) => ({ ...toClaim(box), score: verifyScore(box.score, box.yes).score }));
    compare(
      `verified ${source}`,
      plain,
      own.map((box) => ({ ...toClaim(box), score: combined(box) })),
    );
  }
  const yesNo = flat.map(({ yes, isThere }) => ({ score: yes, isRight: isThere }));
  compare(
    'yes or no',
    yesNo,
    yesNo.map((claim) => ({ ...claim, score: scaleScore(claim.score, scalings.yesNo) })),
  );
  const rates = (isKept: (box: BoxRecord) => boolean): SearchRates => {
    const [present, absent] = [flat.filter(({ isThere }) => isThere), flat.filter(({ isThere }) => !isThere)];
    const found = present.filter((search) => search.boxes.some((box) => isKept(box) && box.isRight)).length;
    const alarms = absent.filter((search) => search.boxes.some(isKept)).length;
    return {
      falseAlarms: absent.length === 0 ? 0 : alarms / absent.length,
      recall: present.length === 0 ? 0 : found / present.length,
      ...{ absent: absent.length, present: present.length },
    };
  };
  const atRecall95 = (ofSource: (box: BoxRecord) => boolean, scoreOf: (box: BoxRecord) => number) => {
    const rightScores = flat
      .filter(({ isThere }) => isThere)
      .flatMap((search) => search.boxes.filter((box) => ofSource(box) && box.isRight).map(scoreOf))
      .sort((a, b) => a - b);
    const leastScore = rightScores[Math.floor(rightScores.length * 0.05)] ?? 0;
    return { ...rates((box) => ofSource(box) && scoreOf(box) >= leastScore), leastScore };
  };
  const isConfirmed = (box: BoxRecord) => judged(box).verified;
  const localisation = (isKept: (box: BoxRecord) => boolean, scoreOf: (box: BoxRecord) => number): Localisation => {
    const present = flat.filter(({ isThere }) => isThere);
    const surest = present.map((search) =>
      search.boxes.filter(isKept).reduce<BoxRecord | undefined>((best, box) => {
        return best === undefined || scoreOf(box) > scoreOf(best) ? box : best;
      }, undefined),
    );
    const share = (of: (box: BoxRecord) => number) =>
      surest.reduce((sum, box) => sum + (box === undefined ? 0 : of(box)), 0) / Math.max(1, present.length);
    return {
      pointing: share(({ pointsAt }) => Number(pointsAt)),
      half: share(({ isRight }) => Number(isRight)),
      meanOverlap: share(({ overlap }) => overlap),
      searches: rates(isKept),
    };
  };
  const sources: { [S in Source]?: NonNullable<ScoreReport['sources'][S]> } = {};
  for (const source of SOURCES) {
    const isOwn = (box: BoxRecord) => box.source === source;
    if (!boxes.some(isOwn)) continue;
    sources[source] = {
      unverified: localisation(isOwn, scaled),
      verified: localisation((box) => isOwn(box) && isConfirmed(box), combined),
      atRecall95: atRecall95(isOwn, scaled),
      verifiedAtRecall95: atRecall95(isOwn, combined),
    };
  }
  return {
    scenes: searches.length,
    reliability,
    searches: {
      unverified: rates(() => true),
      verified: rates(isConfirmed),
      atRecall95: atRecall95(() => true, combined),
    },
    sources,
  };
}

function toClaim({ score, isRight }: BoxRecord): Claim {
  return { score, isRight };
}

function rounded(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}
