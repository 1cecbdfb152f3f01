/** The last messages of the bus, for people who look whether what they send and read is what the contract says. */
import { redact } from 'scenebus/service';
import { type ContractMiss, checkMessage } from './contract-check.js';

export interface BusMessage {
  readonly direction: 'sent' | 'received';
  readonly topic: string;
  readonly retain: boolean;
  /** As it went over the wire, or the value that it spelled. */
  readonly payload: Uint8Array | object;
}

export interface LoggedMessage {
  /** Counts all messages. */
  readonly seq: number;
  readonly atMs: number;
  readonly direction: 'sent' | 'received';
  readonly retain: boolean;
  /** Of the payload, as it was. */
  readonly sizeBytes: number;
  /** JSON over several lines, secrets and long strings taken out; what is no JSON as it is. */
  readonly text: string;
  /** Of the contract; null: the topic is none of the contract's. */
  readonly schema: string | null;
  readonly misses: readonly ContractMiss[];
}

export interface LoggedTopic {
  readonly topic: string;
  /** Since the service started. */
  readonly count: number;
  readonly newest: LoggedMessage;
}

interface Entry {
  count: number;
  messages: LoggedMessage[];
}

export const LOG_LIMITS = {
  topics: 256,
  messagesPerTopic: 20,
  /** Of all texts together. */
  characters: 2 * 2 ** 20,
  /** Of one text; the rest is left out. */
  textCharacters: 32 * 2 ** 10,
  /** Of what came: a device takes no longer request, so nobody reads on. */
  wireBytes: 128 * 2 ** 10,
  /** Of one string: pictures in Base64. */
  stringCharacters: 2_048,
  /** More are counted, not kept: a flood must not cost more than it does already. */
  messagesPerSecond: 100,
} as const;

/** Characters. */
const LONGEST_SECRET = 4_096;

export class MessageLog {
  readonly #root: string;
  readonly #now: () => number;
  /** The topic that was quiet for longest first. */
  readonly #topics = new Map<string, Entry>();
  #count = 0;
  #characters = 0;
  #left = 0;
  #second = { atS: 0, count: 0 };

  /** Only what is below `root`: other topics of a broker are none of this device's business. */
  constructor(root: string, now: () => number = Date.now) {
    this.#root = root;
    this.#now = now;
  }

  /** Messages that were counted and not kept. */
  get left(): number {
    return this.#left;
  }

  /** By name. */
  get topics(): LoggedTopic[] {
    return [...this.#topics]
      .map(([topic, { count, messages }]) => ({ topic, count, newest: messages.at(-1)! }))
      .sort((one, other) => (one.topic < other.topic ? -1 : 1));
  }

  /** The newest first; undefined: none is kept. */
  messages(topic: string): readonly LoggedMessage[] | undefined {
    return this.#topics.get(topic)?.messages.toReversed();
  }

  add({ direction, topic, retain, payload }: BusMessage): void {
    if (!topic.startsWith(`${this.#root}/`)) return;
    this.#count += 1;
    const atMs = this.#now();
    const known = this.#topics.get(topic);
    if (known !== undefined) known.count += 1;
    if (this.#isFlood(atMs)) {
      this.#left += 1;
      return;
    }
    const wire = payload instanceof Uint8Array ? payload : undefined;
    const spelled =
      wire === undefined ? JSON.stringify(payload) : new TextDecoder().decode(wire.subarray(0, LOG_LIMITS.wireBytes));
    const { schema, misses } = checkMessage(this.#root, topic, wire ?? payload, LOG_LIMITS.wireBytes);
    const message = {
      seq: this.#count,
      atMs,
      direction,
      retain,
      sizeBytes: wire?.length ?? Buffer.byteLength(spelled),
      text: pretty(spelled),
      schema,
      misses,
    };
    const entry = known ?? { count: 1, messages: [] };
    // Last in the order of the map: the newest.
    this.#topics.delete(topic);
    this.#topics.set(topic, entry);
    entry.messages.push(message);
    this.#characters += message.text.length;
    if (entry.messages.length > LOG_LIMITS.messagesPerTopic) this.#drop(topic, entry);
    while (this.#topics.size > LOG_LIMITS.topics || this.#characters > LOG_LIMITS.characters) {
      const [quiet, oldest] = this.#topics.entries().next().value!;
      this.#drop(quiet, oldest);
    }
  }

  #isFlood(atMs: number): boolean {
    const atS = Math.floor(atMs / 1000);
    if (this.#second.atS !== atS) this.#second = { atS, count: 0 };
    this.#second.count += 1;
    return this.#second.count > LOG_LIMITS.messagesPerSecond;
  }

  #drop(topic: string, entry: Entry): void {
    this.#characters -= entry.messages.shift()?.text.length ?? 0;
    if (entry.messages.length === 0) this.#topics.delete(topic);
  }
}

function pretty(spelled: string): string {
  let text: string;
  try {
    text = JSON.stringify(JSON.parse(spelled), (_key, value: unknown) => shorten(value), 2) ?? spelled;
  } catch {
    text = spelled;
  }
  const { textCharacters } = LOG_LIMITS;
  if (text.length <= textCharacters) return redact(text);
  // A secret that the cut went through is not recognised: what may be its beginning goes as well.
  const shown = redact(text.slice(0, textCharacters + LONGEST_SECRET))
    .slice(0, -LONGEST_SECRET)
    .slice(0, textCharacters);
  return `${shown}\n… (${text.length - textCharacters} characters more)`;
}

function shorten(value: unknown): unknown {
  if (typeof value !== 'string' || value.length <= LOG_LIMITS.stringCharacters) return value;
  return `${value.slice(0, 64)}… (${value.length} characters)`;
}
