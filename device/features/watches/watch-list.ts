/** The standing questions of a device: those of its configuration, and those that callers added. */
import { isDeepStrictEqual } from 'node:util';
import { type Logger, SdkError } from 'scenebus';
import {
  type FrameReference,
  type ModelReference,
  type WatchChanges,
  type WatchDefinition,
  watchDefinitionSchema,
} from 'scenebus/bus';
import { z } from 'zod';
import type { Problems } from '../../events/problems.js';
import { KeptFile } from '../kept-file.js';
import type { FindingState } from './finding.js';

export interface ListedWatch {
  readonly watch: WatchDefinition;
  readonly origin: 'config' | 'bus';
}

/** How a watch stood at a camera. `question` tells whether it is still the same one. */
export interface KeptFinding {
  readonly watch: string;
  readonly camera: string;
  readonly question: string;
  readonly state: FindingState;
  /** What it rests on. */
  readonly frame: FrameReference;
  readonly model: ModelReference;
}

interface Kept {
  readonly watches: readonly WatchDefinition[];
  readonly findings: readonly KeptFinding[];
}

const MAX_WATCHES = 64;

const keptSchema = z.object({
  watches: z.array(watchDefinitionSchema).max(MAX_WATCHES),
  findings: z.array(
    z.object({
      watch: z.string(),
      camera: z.string(),
      question: z.string(),
      state: z.object({
        value: z.union([z.boolean(), z.number(), z.string()]).nullable(),
        probability: z.number().nullable(),
        sinceMs: z.number(),
        event: z.object({ id: z.string(), startedAtMs: z.number() }).nullable(),
      }),
      frame: z.object({ id: z.string(), capturedAtMs: z.number(), width: z.int(), height: z.int() }),
      model: z.object({ id: z.string(), hash: z.string().optional() }),
    }),
  ),
}) as z.ZodType<Kept>;

export interface WatchListOptions {
  readonly configured: readonly WatchDefinition[];
  readonly cameras: () => readonly string[];
  /** Where added watches, and how all of them stand, are kept; undefined: nowhere. */
  readonly file: string | undefined;
  readonly logger: Logger;
  /** Where it is told that they cannot be kept. */
  readonly problems?: Problems | undefined;
}

export class WatchList implements AsyncDisposable {
  readonly #options: WatchListOptions;
  readonly #file: KeptFile<Kept>;
  readonly #byId = new Map<string, ListedWatch>();
  readonly #listeners = new Set<() => void>();
  #restored: readonly KeptFinding[] = [];
  /** What is kept of how watches stand; set by who knows. */
  findings: () => readonly KeptFinding[] = () => [];

  private constructor(options: WatchListOptions) {
    this.#options = options;
    const { file, logger, problems } = options;
    this.#file = new KeptFile({ file, schema: keptSchema, logger, problems });
  }

  static async open(options: WatchListOptions): Promise<WatchList> {
    const list = new WatchList(options);
    const kept = await list.#file.read();
    list.configure(options.configured);
    for (const watch of kept?.watches ?? []) {
      if (list.#byId.has(watch.id)) {
        options.logger.log('warn', `the watch ${watch.id} of the configuration replaces the one added over the bus`);
      } else list.#byId.set(watch.id, { watch, origin: 'bus' });
    }
    list.#restored = kept?.findings ?? [];
    return list;
  }

  /** Takes over those of a configuration. @returns ids of watches that are gone with the one before */
  configure(watches: readonly WatchDefinition[]): string[] {
    const before = this.all.filter(({ origin }) => origin === 'config').map(({ watch }) => watch);
    for (const watch of before) this.#byId.delete(watch.id);
    for (const watch of watches) {
      const same = before.find((known) => isDeepStrictEqual(known, watch));
      this.#byId.set(watch.id, { watch: same ?? watch, origin: 'config' });
    }
    return before.filter(({ id }) => !this.#byId.has(id)).map(({ id }) => id);
  }

  get all(): readonly ListedWatch[] {
    return [...this.#byId.values()];
  }

  /** How a watch stood when the device ended. Told once: afterwards it stands as its finding says. */
  takeRestored({ id, question }: WatchDefinition, camera: string): KeptFinding | undefined {
    const isIt = (kept: KeptFinding) => kept.watch === id && kept.camera === camera;
    const found = this.#restored.find(isIt);
    this.#restored = this.#restored.filter((kept) => !isIt(kept));
    return found?.question === question ? found : undefined;
  }

  /** Called after every change of the list. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * The same watch again is no change: controllers add theirs whenever they start.
   * @throws SdkError ERR_REQUEST_INVALID, ERR_LIMIT_EXCEEDED
   */
  async add(watch: WatchDefinition): Promise<ListedWatch> {
    const known = this.#byId.get(watch.id);
    if (known !== undefined) {
      if (isDeepStrictEqual(known.watch, watch)) return known;
      throw invalid(`Expected an id that is not taken, but there is another watch ${watch.id}: use watch/change`);
    }
    if (this.#byId.size >= MAX_WATCHES) {
      throw new SdkError('ERR_LIMIT_EXCEEDED', `Expected at most ${MAX_WATCHES} watches. Remove one first.`);
    }
    this.#checkCameras(watch);
    return await this.#put(watch);
  }

  /** @throws SdkError ERR_REQUEST_INVALID */
  async change(id: string, changes: WatchChanges): Promise<ListedWatch> {
    const { watch } = this.#ofBus(id);
    const merged = Object.entries({ ...watch, ...changes }).filter(
      ([, value]) => value !== null && value !== undefined,
    );
    const parsed = watchDefinitionSchema.safeParse(Object.fromEntries(merged));
    if (!parsed.success) {
      throw invalid(`The changed watch ${id} would not be one: ${z.prettifyError(parsed.error).replace(/\s+/g, ' ')}`);
    }
    this.#checkCameras(parsed.data);
    return await this.#put(parsed.data);
  }

  /** @throws SdkError ERR_REQUEST_INVALID */
  async remove(id: string): Promise<void> {
    this.#ofBus(id);
    this.#byId.delete(id);
    await this.#changed();
  }

  /** Keeps how the watches stand. */
  async keep(): Promise<void> {
    const watches = this.all.filter(({ origin }) => origin === 'bus').map(({ watch }) => watch);
    await this.#file.write({ watches, findings: this.findings() });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }

  async #put(watch: WatchDefinition): Promise<ListedWatch> {
    const listed = { watch, origin: 'bus' } as const;
    this.#byId.set(watch.id, listed);
    await this.#changed();
    return listed;
  }

  async #changed(): Promise<void> {
    for (const listener of [...this.#listeners]) listener();
    await this.keep();
  }

  #ofBus(id: string): ListedWatch {
    const known = this.#byId.get(id);
    if (known === undefined) {
      const ids = [...this.#byId.keys()].join(', ') || 'none';
      throw invalid(`Expected the id of a watch (${ids}), but received ${JSON.stringify(id)}`);
    }
    if (known.origin === 'bus') return known;
    throw invalid(`The watch ${id} is in the configuration of the device: change it there`);
  }

  #checkCameras({ cameras = [] }: WatchDefinition): void {
    const unknown = cameras.find((camera) => !this.#options.cameras().includes(camera));
    if (unknown === undefined) return;
    throw invalid(`Expected cameras of ${this.#options.cameras().join(', ')}, but received ${JSON.stringify(unknown)}`);
  }
}

function invalid(message: string): SdkError {
  return new SdkError('ERR_REQUEST_INVALID', `${message}.`);
}
