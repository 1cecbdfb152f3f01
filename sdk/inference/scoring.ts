/**
 * How probable each of a few answers is, read from the logits behind the prompt: nothing is written. One row tells the
 * first tokens apart; where answers begin alike, their common beginnings are tried and taken back: all of them in one
 * call where the engine computes alternatives together, else one after another.
 */
import { SdkError } from '../core/errors.js';
import {
  branchedLength,
  type EngineInfo,
  type PlacedImage,
  type Sequence,
  type SliceResult,
} from '../engine/engine.js';
import { type Candidate, type CandidateNode, candidateTree, partings } from './candidate-tree.js';
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

/** What is to be scored, and what may be computed at once for it. */
export interface ScoringOptions {
  readonly candidates: readonly Candidate[];
  /** Options are numbered from 0 to this, exclusive. */
  readonly optionCount: number;
  /** Tokens of alternatives in one call; 0: the engine computes none together. */
  readonly branchTokens: number;
  /** Tokens that the sequence may come to hold, alternatives included. */
  readonly mostTokens: number;
}

/** A beginning that several options share. */
interface Branch {
  readonly node: CandidateNode;
  /** From the prompt to the node. */
  readonly path: readonly number[];
  readonly probability: number;
}

/** What one call computes. */
interface Trial {
  /** Behind the prompt. */
  readonly texts: readonly (readonly number[])[];
  /** Tokens of the only text that are in the sequence already. */
  readonly shared: number;
}

type Rows = ReadonlyMap<CandidateNode, Float32Array>;

/** What is less probable than this share of all options is divided among its options, rather than looked into. */
const WORTH_A_CALL = 0.02;
/** The most that alternatives take of a context. */
const MOST_BRANCH_ROOM = 512;

export class Scoring implements SequenceTask<ScoringOutput> {
  readonly #place: TaskPlace;
  readonly #options: ScoringOptions;
  readonly #tree: CandidateNode;
  readonly #startedMs = performance.now();
  #sequence: Sequence;
  #images: readonly PlacedImage[];
  #pending: Int32Array;
  #branches: Branch[] = [];
  #trial: Trial | undefined;
  /** Tokens behind the prompt that are in the sequence, of what was tried last. */
  #tried: readonly number[] = [];
  #probabilities: number[] = [];
  #leastWorth = 0;
  #prefillMs: number | undefined;
  #engineCalls = 0;
  #output: ScoringOutput | undefined;

  constructor(place: TaskPlace, options: ScoringOptions) {
    this.#place = place;
    this.#options = options;
    this.#tree = candidateTree(options.candidates);
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
    if (this.#trial !== undefined) return wantedOf(this.#trial);
    const most = this.#place.sliceTokens ?? this.#pending.length;
    if (this.#pending.length <= most) return { tokens: this.#pending, logits: 'last' };
    return { tokens: this.#pending.subarray(0, most), logits: 'none' };
  }

  /** @throws SdkError ERR_ENGINE_FAILED for logits that are no numbers */
  accept({ tokens, logits: kind }: WantedTokens, { logits }: SliceResult): void {
    this.#engineCalls++;
    if (kind === 'all') {
      this.#acceptTrial(this.#trial!, logits);
      return;
    }
    this.#pending = this.#pending.subarray(tokens.length);
    this.#place.onForward(tokens);
    if (kind === 'none') return;
    this.#prefillMs ??= performance.now() - this.#startedMs;
    this.#probabilities = new Array<number>(this.#options.optionCount).fill(0);
    const seen = this.#divide({ node: this.#tree, path: [], probability: 1 }, new Map([[this.#tree, logits]]));
    this.#leastWorth = seen * WORTH_A_CALL;
    this.#goOn();
  }

  advance(): void {}

  /** Nothing of what was tried was said. */
  end(): void {
    this.#keep(0);
  }

  moveTo(sequence: Sequence, images: readonly PlacedImage[], tokens: Int32Array): void {
    this.#sequence = sequence;
    this.#images = images;
    this.#pending = tokens;
    this.#branches = [];
    this.#trial = undefined;
    this.#tried = [];
  }

  #acceptTrial({ texts, shared }: Trial, logits: Float32Array): void {
    const rowCount = texts.reduce((sum, text) => sum + text.length, -shared);
    const columns = logits.length / rowCount;
    const rows = new Map<CandidateNode, Float32Array>();
    let next = 0;
    for (const text of texts) {
      let node = this.#tree;
      for (const [depth, token] of text.entries()) {
        node = node.children.get(token)!;
        if (depth < shared) continue;
        rows.set(node, logits.subarray(next * columns, (next + 1) * columns));
        next++;
      }
    }
    const [only] = texts;
    this.#tried = texts.length === 1 ? only! : [];
    const branches = this.#branches;
    this.#branches = [];
    for (const branch of branches) this.#divide(branch, rows);
    this.#goOn();
  }

  /** As far as there are rows; what is left becomes a branch. @returns the probability of all options below */
  #divide(branch: Branch, rows: Rows): number {
    const { node, path, probability } = branch;
    const row = rows.get(node);
    if (row === undefined) {
      this.#branches.push(branch);
      return probability;
    }
    const normalizer = logSumExp(row);
    let below = 0;
    for (const [token, child] of node.children) {
      const share = Math.exp(row[token]! - normalizer);
      below += share;
      const [option] = child.options;
      if (child.options.size === 1) this.#add(option!, probability * share);
      else if (child.options.size > 1)
        this.#divide({ node: child, path: [...path, token], probability: probability * share }, rows);
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
    this.#trial = this.#branches.length === 0 ? undefined : this.#nextTrial();
    if (this.#trial !== undefined) return;
    const prefillMs = this.#prefillMs!;
    this.#output = {
      probabilities: this.#probabilities,
      prefillMs,
      branchMs: performance.now() - this.#startedMs - prefillMs,
      engineCalls: this.#engineCalls,
    };
  }

  #nextTrial(): Trial {
    const { branchTokens, mostTokens } = this.#options;
    const length = this.#sequence.length - this.#tried.length;
    const texts: (readonly number[])[] = [];
    let tokens = 0;
    for (const { node, path } of [...this.#branches].sort((a, b) => b.probability - a.probability)) {
      for (const text of partings(node, path)) {
        const lengths = [...texts, text].map((each) => each.length);
        if (tokens + text.length > branchTokens || branchedLength(length, lengths) > mostTokens) continue;
        texts.push(text);
        tokens += text.length;
      }
    }
    if (texts.length > 1) {
      this.#keep(0);
      this.#place.onTouch?.(
        branchedLength(
          length,
          texts.map((text) => text.length),
        ),
      );
      return { texts, shared: 0 };
    }
    // The one that goes on from what was tried last is the last that was found.
    const { node, path } = this.#branches.at(-1)!;
    const text = pathThrough(node, path);
    // The row behind the branch's own tokens is wanted, so the last of them is computed again.
    const shared = Math.min(sharedLength(text, this.#tried), path.length - 1);
    this.#keep(shared);
    return { texts: [text], shared };
  }

  /** Takes out of the sequence what was tried, but for its first `count` tokens. */
  #keep(count: number): void {
    if (this.#tried.length > count) this.#sequence.truncate(this.#sequence.length - this.#tried.length + count);
    this.#tried = this.#tried.slice(0, count);
  }

  #add(option: number, probability: number): void {
    this.#probabilities[option]! += probability;
  }
}

function wantedOf({ texts, shared }: Trial): WantedTokens {
  const [only] = texts;
  if (texts.length === 1) return { tokens: Int32Array.from(only!.slice(shared)), logits: 'all' };
  return { tokens: Int32Array.from(texts.flat()), logits: 'all', branches: texts.map(({ length }) => length) };
}

/** On to where options part or one can end: one call computes all rows on the way. */
function pathThrough(start: CandidateNode, path: readonly number[]): readonly number[] {
  const through = [...path];
  let node = start;
  while (node.ending === undefined && node.children.size === 1) {
    const [[token, child]] = node.children as unknown as [[number, CandidateNode]];
    through.push(token);
    node = child;
  }
  return through;
}

function sharedLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < Math.min(a.length, b.length) && a[length] === b[length]) length++;
  return length;
}

/** Tokens that come behind a prompt of `length` tokens at most, while candidates are scored. */
export function scoringRoom(
  candidates: readonly Candidate[],
  length: number,
  { contextLength, capabilities }: Pick<EngineInfo, 'contextLength' | 'capabilities'>,
): number {
  const longest = Math.max(...candidates.map(({ tokens }) => tokens.length));
  if (capabilities.branchTokens === 0) return longest;
  const texts = partings(candidateTree(candidates), []).map((text) => text.length);
  const room = branchedLength(length, texts) - length;
  return Math.max(longest, Math.min(room, MOST_BRANCH_ROOM, contextLength - length));
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
