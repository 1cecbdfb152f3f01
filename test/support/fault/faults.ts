/** One fault done to a device, and what has to be so afterwards whatever it was. */
import { expect } from 'vitest';
import { until } from '../brokers.js';
import { Victim, type VictimOptions } from './victim.js';

/** Of all processes together, over what they had before a fault: collected only now and then. */
const MEMORY_ALLOWANCE_BYTES = 128 * 2 ** 20;
const SETTLE_MS = 30_000;

export interface Fault {
  readonly name: string;
  /**
   * Does it. Resolves when the trouble is over, and only the device itself is to get well, which is timed from then on
   * or from the moment that it calls `begun`.
   */
  readonly strike: (begun: () => void) => Promise<unknown>;
  /** What the device has to say of it on its health topic or, while there is no broker, at /healthz. */
  readonly reason?: RegExp | undefined;
  /** More that makes it well again. */
  readonly isWell?: (() => boolean) | undefined;
}

export interface FaultRow {
  readonly fault: string;
  readonly recoverySeconds: number;
  readonly accepted: number;
  readonly lost: number;
  readonly said: string;
}

/** `ask`: only questions; `lively`: scenes that change as well. */
export type Traffic = 'ask' | 'lively';

export class Faults {
  readonly #victim: Victim;
  readonly rows: FaultRow[] = [];
  #baseBytes = 0;
  #accepted = 0;

  private constructor(victim: Victim) {
    this.#victim = victim;
  }

  /** A device that has answered: its memory is compared with what it is then. To be ended by `end`. */
  static async begin(traffic: Traffic, options: VictimOptions = {}): Promise<{ victim: Victim; faults: Faults }> {
    const victim = await Victim.prepare(options);
    const faults = new Faults(victim);
    try {
      await victim.start();
      victim[traffic]();
      await victim.untilAnswered();
    } catch (error) {
      await victim[Symbol.asyncDispose]();
      throw error;
    }
    faults.#baseBytes = faults.#bytes;
    return { victim, faults };
  }

  async end(): Promise<void> {
    console.log(this.table);
    await this.#victim[Symbol.asyncDispose]();
  }

  async strike({ name, strike, reason, isWell = () => true }: Fault): Promise<void> {
    const victim = this.#victim;
    const said = reason === undefined ? Promise.resolve('') : victim.untilSaid(reason);
    said.catch(() => {});
    let overAtMs: number | undefined;
    await strike(() => {
      overAtMs = performance.now();
    });
    overAtMs ??= performance.now();
    await victim.untilAnswered();
    await victim.untilHealth(({ state }) => state === 'running');
    await victim.until(isWell);
    const recoverySeconds = (performance.now() - overAtMs) / 1000;
    const { ledger } = victim;
    const message = await said;
    const lost = await ledger.settle(SETTLE_MS);
    const accepted = ledger.accepted.size - this.#accepted;
    this.#accepted = ledger.accepted.size;
    this.rows.push({ fault: name, recoverySeconds, accepted, lost: lost.length, said: message });
    expect(lost).toEqual([]);
    expect(ledger.unmarked).toEqual([]);
    expect(ledger.outOfOrder).toEqual([]);
    const limitBytes = this.#baseBytes + MEMORY_ALLOWANCE_BYTES;
    await until(() => this.#bytes < limitBytes);
  }

  /** What happened, as a table for notes. */
  get table(): string {
    const lines = this.rows.map(({ fault, recoverySeconds, accepted, lost, said }) => {
      const code = /ERR_[A-Z_]+/.exec(said)?.[0] ?? '';
      return `| ${fault} | ${recoverySeconds.toFixed(1)} s | ${lost} of ${accepted} | ${code} |`;
    });
    return ['| fault | well again after | lost | said |', '|---|---|---|---|', ...lines].join('\n');
  }

  get #bytes(): number {
    const figures = Object.values(this.#victim.figures());
    return figures.reduce((sum, { pssBytes }) => sum + pssBytes, 0);
  }
}
