/**
 * The sequences of one engine: those that generations compute in, and idle ones of earlier generations, kept so that a
 * prompt starts where it begins to differ from one of them (a second question about a frame, the next turn of a
 * conversation). All within a bound of memory; idle ones go first, the least recently used before others.
 */
import { isSdkError, SdkError } from '../core/errors.js';
import type { Engine, Sequence } from '../engine/engine.js';

/** An image of a prompt: which pixels, and where its token stands. */
export interface PromptImage {
  readonly key: string;
  readonly tokenIndex: number;
}

/** Tokens of an idle sequence that are worth more than the few a prompt would share with it. */
const KEPT_FROM_TOKENS = 256;
const DEFAULT_LEAST_BYTES = 2 ** 30;

interface Resident {
  readonly sequence: Sequence;
  ids: number[];
  images: readonly PromptImage[];
  /** The most tokens that were ever in it: memory that it holds. */
  peakTokens: number;
}

/** Idle sequences included. */
export interface SequencePoolStats {
  readonly sequences: number;
  /** What sequences hold and generations may still come to hold. */
  readonly sizeBytes: number;
}

/** Leases sequences, and remembers which tokens the idle ones hold. */
export class SequencePool implements Disposable {
  readonly #engine: Engine;
  readonly #maxBytes: number;
  /** In order of use, oldest first. */
  readonly #idle = new Set<Resident>();
  readonly #leases = new Map<SequenceLease, { readonly resident: Resident; readonly bytes: number }>();

  /** @param maxBytes default: 1 GiB, or what one sequence of the engine can take at most */
  constructor(engine: Engine, maxBytes?: number) {
    this.#engine = engine;
    this.#maxBytes = maxBytes ?? Math.max(DEFAULT_LEAST_BYTES, this.#bytesOf(engine.info.contextLength));
  }

  get stats(): SequencePoolStats {
    return { sequences: this.#idle.size + this.#leases.size, sizeBytes: this.#leasedBytes() + this.#idleBytes() };
  }

  /** Whether a generation of so many tokens can run when it is alone. */
  fits(maxTokens: number): boolean {
    return this.#bytesOf(maxTokens) <= this.#maxBytes;
  }

  /** @throws SdkError ERR_LIMIT_EXCEEDED for a generation that does not fit even when it is alone */
  check(maxTokens: number): void {
    if (this.fits(maxTokens)) return;
    const neededBytes = this.#bytesOf(maxTokens);
    throw new SdkError(
      'ERR_LIMIT_EXCEEDED',
      `Expected a prompt and an answer whose keys and values fit into ${this.#maxBytes} bytes, but ${maxTokens} tokens take ${neededBytes}. Ask for fewer with maxNewTokens, shorten the prompt, or load the model with a larger keyValueCache.`,
      { details: { maxBytes: this.#maxBytes, neededBytes, tokens: maxTokens } },
    );
  }

  /**
   * A sequence cut to what the prompt shares with it; at least one token of the prompt is left to compute.
   * @param maxTokens how long it may become
   * @returns undefined while generations that run hold too much
   */
  acquire(ids: Int32Array, images: readonly PromptImage[], maxTokens: number): SequenceLease | undefined {
    const bytes = this.#bytesOf(maxTokens);
    if (this.#leasedBytes() + bytes > this.#maxBytes) return undefined;
    const found = this.#bestIdle(ids, images, bytes);
    if (found !== undefined) this.#idle.delete(found.resident);
    this.#makeRoom(bytes);
    const resident = found?.resident ?? this.#create();
    if (resident === undefined) return undefined;
    const shared = found?.shared ?? 0;
    resident.sequence.truncate(shared);
    resident.ids.length = shared;
    resident.images = images;
    const lease = new SequenceLease(resident, (kept) => this.#giveBack(lease, kept));
    this.#leases.set(lease, { resident, bytes });
    return lease;
  }

  /** Drops what is idle; what generations use is theirs until they end. */
  [Symbol.dispose](): void {
    for (const resident of this.#idle) resident.sequence[Symbol.dispose]();
    this.#idle.clear();
  }

  #giveBack(lease: SequenceLease, kept: boolean): void {
    const { resident } = this.#leases.get(lease)!;
    this.#leases.delete(lease);
    if (!kept) {
      resident.sequence[Symbol.dispose]();
      return;
    }
    this.#idle.add(resident);
    this.#makeRoom(0);
  }

  #makeRoom(bytes: number): void {
    for (const oldest of this.#idle) {
      if (this.#leasedBytes() + this.#idleBytes() + bytes <= this.#maxBytes) return;
      this.#idle.delete(oldest);
      oldest.sequence[Symbol.dispose]();
    }
  }

  /** undefined: the engine has no memory for another one beside those that run. */
  #create(): Resident | undefined {
    try {
      return { sequence: this.#engine.createSequence(), ids: [], images: [], peakTokens: 0 };
    } catch (error) {
      if (!isSdkError(error, 'ERR_ENGINE_OUT_OF_MEMORY')) throw error;
      if (this.#idle.size > 0) {
        this[Symbol.dispose]();
        return this.#create();
      }
      if (this.#leases.size > 0) return undefined;
      throw error;
    }
  }

  /** The idle sequence that shares most with the prompt, unless a new one leaves more to those who come back. */
  #bestIdle(ids: Int32Array, images: readonly PromptImage[], bytes: number) {
    let best: { readonly resident: Resident; readonly shared: number } | undefined;
    for (const resident of this.#idle) {
      const shared = Math.min(this.#sharedTokens(resident, ids, images), ids.length - 1);
      if (best === undefined || shared > best.shared) best = { resident, shared };
    }
    if (best === undefined) return undefined;
    const lost = best.resident.ids.length - best.shared;
    const fitsBeside = this.#leasedBytes() + this.#idleBytes() + bytes <= this.#maxBytes;
    return lost > best.shared && lost >= KEPT_FROM_TOKENS && fitsBeside ? undefined : best;
  }

  #sharedTokens(resident: Resident, ids: Int32Array, images: readonly PromptImage[]): number {
    if (!this.#engine.info.capabilities.prefixReuse) return 0;
    let shared = 0;
    while (shared < Math.min(ids.length, resident.ids.length) && ids[shared] === resident.ids[shared]) shared++;
    const differing = firstDifferingImage(resident.images, images);
    if (differing === undefined) return shared;
    // Tokens before an image do not depend on it, except in the Hugging Face numerics, where they attend to it too.
    return this.#engine.info.numerics === 'meta' ? Math.min(shared, differing) : 0;
  }

  #leasedBytes(): number {
    let sum = 0;
    for (const { bytes } of this.#leases.values()) sum += bytes;
    return sum;
  }

  #idleBytes(): number {
    let sum = 0;
    for (const { peakTokens } of this.#idle) sum += this.#bytesOf(peakTokens);
    return sum;
  }

  #bytesOf(tokens: number): number {
    const { contextLength, capabilities } = this.#engine.info;
    return (capabilities.reservesContext ? contextLength : tokens) * capabilities.keyValueBytesPerToken;
  }
}

/** One generation's hold on a sequence. */
export class SequenceLease {
  /** Tokens of the prompt that were there. */
  readonly reusedTokens: number;
  readonly #resident: Resident;
  readonly #giveBack: (kept: boolean) => void;
  #isHeld = true;

  constructor(resident: Resident, giveBack: (kept: boolean) => void) {
    this.#resident = resident;
    this.#giveBack = giveBack;
    this.reusedTokens = resident.ids.length;
  }

  get sequence(): Sequence {
    return this.#resident.sequence;
  }

  /** Tokens that entered the sequence for good. */
  get tokens(): readonly number[] {
    return this.#resident.ids;
  }

  append(tokens: Int32Array): void {
    for (const id of tokens) this.#resident.ids.push(id);
  }

  /** So many tokens of the sequence take memory, though they do not stay in it. */
  touch(tokens: number): void {
    this.#resident.peakTokens = Math.max(this.#resident.peakTokens, tokens);
  }

  /** @param how `keep`: the next prompt may go on from it. `drop`: nobody knows what the engine still holds. */
  release(how: 'keep' | 'drop'): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    const { sequence, ids, peakTokens } = this.#resident;
    if (how === 'keep') {
      // An aborted step may have appended what was not told, and a row that comes again what was told before.
      if (sequence.length > ids.length) sequence.truncate(ids.length);
      ids.length = sequence.length;
      this.#resident.peakTokens = Math.max(peakTokens, ids.length);
    }
    this.#giveBack(how === 'keep');
  }
}

/** Index of the first token whose image is another one, there or here; undefined when all are the same. */
function firstDifferingImage(before: readonly PromptImage[], now: readonly PromptImage[]): number | undefined {
  for (let i = 0; i < Math.max(before.length, now.length); i++) {
    const [a, b] = [before[i], now[i]];
    if (a?.key === b?.key && a?.tokenIndex === b?.tokenIndex) continue;
    return Math.min(a?.tokenIndex ?? Number.POSITIVE_INFINITY, b?.tokenIndex ?? Number.POSITIVE_INFINITY);
  }
  return undefined;
}
