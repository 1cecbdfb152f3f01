/**
 * The proof that nothing accepted is lost: what the device's journal holds beside what a durable subscriber was given.
 */
import { existsSync } from 'node:fs';
import type { IClientPublishOptions, MqttClient } from 'mqtt';
import { JournalStore } from '#device/journal/store.js';
import { connectOnce, until } from '../brokers.js';

interface Accepted {
  readonly kind: 'watch' | 'answer';
  /** Of the journal; files that follow each other are counted on. */
  readonly seq: number;
}

export class Ledger implements AsyncDisposable {
  /** Watch events `eventId/type` and answers by their transaction, as the journal has them. */
  readonly accepted = new Map<string, Accepted>();
  /** How often each came, in the order of first arrivals. */
  readonly seen = new Map<string, number>();
  /** Repetitions that did not say so. */
  readonly unmarked: string[] = [];
  /** Error codes of answers, by how often. */
  readonly errorCodes = new Map<string, number>();
  /** Every answer by its transaction. */
  readonly answers = new Map<string, { readonly status: string; readonly error?: { readonly code: string } }>();
  /** Transactions of answers of which pieces have come. */
  readonly begun = new Set<string>();
  /** Every health message. */
  readonly health: {
    readonly state: string;
    readonly problems: readonly { readonly code: string; readonly message: string }[];
  }[] = [];
  /** Topics below the device, with their last payloads: what is retained and what is not. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into payloads of any shape
  readonly last = new Map<string, any>();
  readonly #url: string;
  readonly #device: string;
  readonly #file: string;
  #client: MqttClient | undefined;
  /** Of the journal's first event, in the order of all files. */
  #firstSeq = 0;

  constructor(url: string, device: string, journalFile: string) {
    this.#url = url;
    this.#device = device;
    this.#file = journalFile;
  }

  /** With a session that outlives its connection, for as long as the broker lives. */
  async listen(): Promise<void> {
    await this.#client?.endAsync(true);
    const client = await connectOnce(this.#url, {
      clientId: `ledger-${this.#device}`,
      clean: false,
      protocolVersion: 5,
      properties: { sessionExpiryInterval: 3_600 },
    });
    client.on('message', (topic, payload, packet) => this.#take(topic, payload, packet.properties?.userProperties));
    await client.subscribeAsync(`scenebus/${this.#device}/#`, { qos: 1 });
    this.#client = client;
  }

  /** @throws Error while there is no broker */
  async publish(topic: string, payload: string | Buffer, options: IClientPublishOptions = {}): Promise<void> {
    const client = this.#client;
    if (client?.connected !== true) throw new Error('the broker is away');
    let onClose = () => {};
    // mqtt.js never calls back for what was on its way when it will not reconnect.
    const closed = new Promise<never>((_, reject) => {
      onClose = () => reject(new Error('the broker went away'));
      client.once('close', onClose);
    });
    try {
      const name = `scenebus/${this.#device}/${topic}`;
      await Promise.race([client.publishAsync(name, payload, { qos: 1, ...options }), closed]);
    } finally {
      client.off('close', onClose);
    }
  }

  /** The journal's file is taken away: what it has accepted is read for the last time. */
  beginFile(): void {
    this.collect();
    this.#firstSeq = Math.max(0, ...[...this.accepted.values()].map(({ seq }) => seq));
  }

  /** Reads what the journal has accepted since; before its file is taken away as well. */
  collect(): void {
    if (!existsSync(this.#file)) return;
    const store = new JournalStore({ file: this.#file, isReadOnly: true });
    try {
      for (const { kind, seq: own, body } of store.after(0, ['watch', 'answer'], 1_000_000)) {
        const seq = this.#firstSeq + own;
        const { watch, eventId, type, reply } = JSON.parse(body);
        if (kind === 'watch' && watch !== undefined) this.accepted.set(`${eventId}/${type}`, { kind, seq });
        else if (reply?.payload.transaction !== undefined)
          this.accepted.set(reply.payload.transaction, { kind: 'answer', seq });
      }
    } finally {
      store[Symbol.dispose]();
    }
  }

  get missing(): string[] {
    return [...this.accepted.keys()].filter((key) => !this.seen.has(key));
  }

  /** Waits until all that is accepted by now has arrived, for `limitMs` at most. @returns what has not */
  async settle(limitMs: number): Promise<string[]> {
    this.collect();
    const endAtMs = performance.now() + limitMs;
    await until(() => this.missing.length === 0 || performance.now() > endAtMs);
    return this.missing;
  }

  /** Watch events whose first arrival came before that of one accepted earlier. */
  get outOfOrder(): string[] {
    let highest = 0;
    return [...this.seen.keys()].filter((key) => {
      const accepted = this.accepted.get(key);
      if (accepted?.kind !== 'watch') return false;
      const isLate = accepted.seq < highest;
      highest = Math.max(highest, accepted.seq);
      return isLate;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.endAsync(true);
  }

  #take(topic: string, payload: Buffer, userProperties: unknown): void {
    const name = topic.slice(`scenebus/${this.#device}/`.length);
    if (payload.length === 0 || name.startsWith('request/') || name.endsWith('/set')) return;
    const message = JSON.parse(payload.toString());
    this.last.set(name, message);
    if (name === 'health') this.health.push(message);
    if (/^camera\/[^/]+\/event$/.test(name)) {
      this.#note(`${message.eventId}/${message.type}`, message.repeated === true);
    } else if (name.startsWith('response/') && message.transaction !== undefined) {
      if (message.status === 'partial') {
        this.begun.add(message.transaction);
        return;
      }
      const { transaction, error } = message;
      this.answers.set(transaction, message);
      if (error !== undefined) this.errorCodes.set(error.code, (this.errorCodes.get(error.code) ?? 0) + 1);
      const marks = userProperties as { readonly repeated?: string } | undefined;
      this.#note(transaction, marks?.repeated === 'true');
    }
  }

  #note(key: string, isMarked: boolean): void {
    const times = this.seen.get(key) ?? 0;
    if (times > 0 && !isMarked) this.unmarked.push(key);
    this.seen.set(key, times + 1);
  }
}
