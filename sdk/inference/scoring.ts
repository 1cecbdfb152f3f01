/**
 * How probable each of a few answers is, read from the logits behind the prompt: nothing is written. One row tells the
 * first tokens apart; only where answers begin alike, the common beginning is tried and taken back.
 */
import { SdkError } from '../core/errors.js';
import type { PlacedImage, Sequence, SliceResult } from '../engine/engine.js';
import { type Candidate, type CandidateNode, candidateTree } from './candidate-tree.js';
import { logSumExp } from './log-sum-exp.js';
import type { SequenceTask, TaskPlace, WantedTokens } from './sequence-task.js';

export interface ScoringOutput {
  /** For each option: how probable the model finds it that its answer begins so. They add up to at most 1. */
  readonly probabilities: readonly number[];
  readonly prefillMs: number;
  /** Beginnings that several options share. */
  readonly branchMs: number;
  readonly engineCalls: number;
}

/** A beginning that several options share. */
interface Branch {
  readonly node: CandidateNode;
  readonly path: readonly number[];
  readonly probability: number;
}

/** What is less probable than this share of all options is divided among its options, rather than looked into. */
const WORTH_A_CALL = 0.02;

export class Scoring implements SequenceTask<ScoringOutput> {
  readonly #place: TaskPlace;
  readonly #tree: CandidateNode;
  readonly #optionCount: number;
  readonly #startedMs = performance.now();
  #sequence: Sequence;
  #images: readonly PlacedImage[];
  #pending: Int32Array;
  #branches: Branch[] = [];
  #probabilities: number[] = [];
  #leastWorth = 0;
  #prefillMs: number | undefined;
  #engineCalls = 0;
  #output: ScoringOutput | undefined;

  /** @param optionCount options are numbered from 0 to this, exclusive */
  constructor(place: TaskPlace, candidates: readonly Candidate[], optionCount: number) {
    this.#place = place;
    this.#tree = candidateTree(candidates);
    this.#optionCount = optionCount;
    this.#sequence = place.sequence;
    this.#images = place.images;
    this.#pending = place.tokens;
  }

  get output(): ScoringOutput | undefined {
    return this.#output;
  }

  get sequence(): Sequence {
    return this.#sequence;
  }

  get images(): readonly PlacedImage[] {
    return this.#images;
  }

  get pending(): Int32Array {
    return this.#pending;
  }

  get wanted(): WantedTokens | undefined {
    if (this.#output !== undefined) return undefined;
    const branch = this.#branches[0];
    if (branch !== undefined) return { tokens: Int32Array.from(branch.path), logits: 'all' };
    const most = this.#place.sliceTokens ?? this.#pending.length;
    if (this.#pending.length <= most) return { tokens: this.#pending, logits: 'last' };
    return { tokens: this.#pending.subarray(0, most), logits: 'none' };
  }

  /** @throws SdkError ERR_ENGINE_FAILED for logits that are no numbers */
  accept({ tokens, logits: kind }: WantedTokens, { logits }: SliceResult): void {
    this.#engineCalls++;
    if (kind === 'all') {
      this.#acceptBranch(logits);
      return;
    }
    this.#pending = this.#pending.subarray(tokens.length);
    this.#place.onForward(tokens);
    if (kind === 'none') return;
    this.#prefillMs ??= performance.now() - this.#startedMs;
    this.#probabilities = new Array<number>(this.#optionCount).fill(0);
    const seen = this.#divide({ node: this.#tree, path: [], probability: 1 }, logits);
    this.#leastWorth = seen * WORTH_A_CALL;
    this.#goOn();
  }

  advance(): void {}

  end(): void {}

  moveTo(sequence: Sequence, images: readonly PlacedImage[], tokens: Int32Array): void {
    this.#sequence = sequence;
    this.#images = images;
    this.#pending = tokens;
    this.#branches = [];
  }

  #acceptBranch(logits: Float32Array): void {
    const branch = this.#branches.shift()!;
    const { path } = branch;
    // Nothing of it was said.
    this.#sequence.truncate(this.#sequence.length - path.length);
    const columns = logits.length / path.length;
    const rowBehind = (count: number) => logits.subarray((count - 1) * columns, count * columns);
    let { node, probability } = branch;
    let depth = depthOf(this.#tree, path, node);
    for (; depth < path.length; depth++) {
      const token = path[depth]!;
      probability *= probabilityOf(rowBehind(depth), token);
      node = node.children.get(token)!;
    }
    this.#divide({ node, path, probability }, rowBehind(path.length));
    this.#goOn();
  }

  /** @returns the probability of all options below */
  #divide({ node, path, probability }: Branch, row: Float32Array): number {
    const normalizer = logSumExp(row);
    let below = 0;
    for (const [token, child] of node.children) {
      const share = Math.exp(row[token]! - normalizer);
      below += share;
      const [option] = child.options;
      if (child.options.size === 1) this.#add(option!, probability * share);
      else if (child.options.size > 1) {
        this.#branches.push({
          node: child,
          path: pathThrough(child, [...path, token]),
          probability: probability * share,
        });
      }
    }
    // Whatever else comes behind it: a full stop, the end.
    if (node.ending !== undefined) this.#add(node.ending, probability * Math.max(0, 1 - below));
    return probability * below;
  }

  #goOn(): void {
    const worth = (branch: Branch) => branch.probability > this.#leastWorth;
    for (const { node, probability } of this.#branches.filter((branch) => !worth(branch))) {
      for (const option of node.options) this.#add(option, probability / node.options.size);
    }
    this.#branches = this.#branches.filter(worth);
    if (this.#branches.length > 0) return;
    const prefillMs = this.#prefillMs!;
    this.#output = {
      probabilities: this.#probabilities,
      prefillMs,
      branchMs: performance.now() - this.#startedMs - prefillMs,
      engineCalls: this.#engineCalls,
    };
  }

  #add(option: number, probability: number): void {
    this.#probabilities[option]! += probability;
  }
}

/** On to where options part or one can end: one call computes all rows on the way. */
function pathThrough(start: CandidateNode, path: number[]): readonly number[] {
  let node = start;
  while (node.ending === undefined && node.children.size === 1) {
    const [[token, child]] = node.children as unknown as [[number, CandidateNode]];
    path.push(token);
    node = child;
  }
  return path;
}

function depthOf(root: CandidateNode, path: readonly number[], node: CandidateNode): number {
  let at = root;
  let depth = 0;
  while (at !== node) at = at.children.get(path[depth++]!)!;
  return depth;
}

function probabilityOf(row: Float32Array, token: number): number {
  return Math.exp(row[token]! - logSumExp(row));
}

/** @throws SdkError ERR_ARGUMENT_INVALID */
export function checkCandidates(candidates: readonly Candidate[], optionCount: number): void {
  const missing = Array.from({ length: optionCount }, (_, option) => option).filter(
    (option) => !candidates.some((candidate) => candidate.option === option && candidate.tokens.length > 0),
  );
  if (missing.length === 0) return;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected every option to have a text, but number ${missing[0]} has none.`,
  );
}
