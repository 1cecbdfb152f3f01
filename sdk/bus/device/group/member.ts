/** One device in one group: says how it stands, knows the others, takes its share of the requests. */
import type { z } from 'zod';
import type { Logger } from '../../../core/logger.js';
import { decodeRequest, readPayload } from '../../contract/decoding.js';
import { type GroupTopics, parseGroupTopic } from '../../contract/group-topics.js';
import { GROUP_HANDED_ON_MAX } from '../../contract/schemas/group.js';
import {
  busSchemas,
  type GroupDelivery,
  type GroupMember as MemberPayload,
  SCHEMA_IDS,
  type SchemaName,
} from '../../contract/schemas/index.js';
import { type IncomingMessage, type Link, LinkClosedError } from '../../transport/link.js';
import { sleep } from '../../transport/sleep.js';
import { jsonProperties } from '../outgoing.js';
import type { PayloadStamper } from '../payloads.js';
import type { TakenRequest } from '../request-server.js';
import type { GroupMark } from '../routes.js';
import { Claims } from './claims.js';
import { type GroupRequest, memberId, rankMembers, readGroupRequest } from './selection.js';
import { ShareProbe } from './share-probe.js';

export interface GroupMemberOptions {
  readonly topics: GroupTopics;
  readonly device: string;
  readonly stamper: PayloadStamper;
  /** Found out by a probe unless it is said. */
  readonly delivery: GroupDelivery | undefined;
  readonly link: () => Link | undefined;
  /** Begins to answer. */
  readonly take: (message: IncomingMessage, verb: string, group: GroupMark) => TakenRequest | undefined;
  readonly logger: Logger;
  readonly monotonicNow: () => number;
}

interface Other {
  readonly id: string;
  readonly state: MemberPayload['state'];
  readonly delivery: GroupDelivery;
  readonly heardMs: number;
}

/** How often a member of a small group says how it stands; in a large one more rarely, so that the sum stays. */
const ANNOUNCE_MS = 30_000;
const SMALL_GROUP = 16;
/** Three announcements missed: it is gone, and its will did not come. */
const LOST_AFTER = 3.5;
/** Members that are known at most: names on the bus are made up by whoever may publish. */
const MAX_MEMBERS = 1024;
const CALL_SPREAD_MS = 300;
/** For the others to hear that this member is busy before it stops taking requests: all might do so at once. */
const BUSY_SETTLE_MS = 300;
const HAND_ON_MS = 100;
/** For the others to hear of a new member; until then two might believe to be the first. */
const JOIN_SETTLE_MS = 1_000;

export class GroupMember {
  readonly #options: GroupMemberOptions;
  readonly #topics: GroupTopics;
  readonly #id: string;
  readonly #probe = new ShareProbe();
  readonly #claims: Claims;
  readonly #others = new Map<string, Other>();
  #awayReason: string | undefined = 'starting';
  #isBusy = false;
  /** What this device itself has seen of the broker. */
  #seen: GroupDelivery = 'members';
  #isProbed = false;
  #joinedMs = 0;
  /** What it is subscribed to for requests. */
  #subscribed: 'none' | GroupDelivery = 'none';
  #work: Promise<void> = Promise.resolve();
  #announceTimer: NodeJS.Timeout | undefined;
  #callTimer: NodeJS.Timeout | undefined;
  #announced: MemberPayload['state'] | undefined;
  #isClosed = false;

  constructor(options: GroupMemberOptions) {
    this.#options = options;
    this.#topics = options.topics;
    this.#id = memberId({ device: options.device, run: options.stamper.run });
    this.#claims = new Claims({ id: this.#id, claim: (key) => this.#say('groupClaim', this.#topics.claim, { key }) });
  }

  /** Why this device takes no requests of the group; undefined: it does. */
  get awayReason(): string | undefined {
    return this.#isProbed ? this.#awayReason : 'joining';
  }

  /** How requests reach the members now. */
  get delivery(): GroupDelivery {
    const isShared =
      this.#seen === 'shared' && [...this.#others.values()].every((other) => other.delivery === 'shared');
    return isShared ? 'shared' : 'members';
  }

  /** busy: takes requests only while no member is ready; away: none. */
  get state(): MemberPayload['state'] {
    if (this.awayReason !== undefined) return 'away';
    return this.#isBusy ? 'busy' : 'ready';
  }

  /** Members that are ready, this one too. */
  get readyMembers(): number {
    return this.#othersThatAre('ready').length + (this.state === 'ready' ? 1 : 0);
  }

  /** The payload of the will. */
  get will(): { readonly topic: string; readonly payload: string } {
    const topic = this.#topics.member(this.#options.device);
    const fields = { group: this.#topics.group, state: 'away', reason: 'lost', delivery: this.#seen };
    return { topic, payload: JSON.stringify(this.#options.stamper.makeUnnumbered('groupMember', topic, fields)) };
  }

  /** A new connection: nothing is subscribed yet. @throws LinkClosedError, SdkError ERR_BUS_REJECTED */
  async up(link: Link): Promise<void> {
    this.#subscribed = 'none';
    this.#announced = undefined;
    this.#isProbed = false;
    this.#others.clear();
    const { members, call, claim, heard } = this.#topics;
    for (const filter of [members, call, claim, heard]) await link.subscribe(filter);
    this.#enqueue(async () => {
      this.#seen = await this.#findDelivery(link);
      this.#isProbed = true;
      this.#joinedMs = this.#options.monotonicNow();
      await this.#apply(link);
    });
    this.#enqueue(() => this.#publish(link, this.#topics.call, { schema: SCHEMA_IDS.groupCall }));
  }

  down(): void {
    this.#claims.clear();
    clearTimeout(this.#announceTimer);
    clearTimeout(this.#callTimer);
    this.#callTimer = undefined;
    this.#others.clear();
    this.#subscribed = 'none';
  }

  /** @param reason why it takes no requests; undefined: it takes them, while it is busy those that nobody else takes */
  stand(reason: string | undefined, isBusy: boolean): void {
    const before = this.state;
    this.#awayReason = reason;
    this.#isBusy = isBusy;
    if (this.state === 'away') this.#claims.clear();
    // Another reason alone is told with the next announcement.
    if (this.state !== before) this.#settle();
  }

  receive(message: IncomingMessage): void {
    const parsed = parseGroupTopic(this.#topics.root, message.topic);
    if (parsed === undefined || parsed.group !== this.#topics.group) return;
    if (parsed.kind === 'request') this.#request(message, parsed.verb);
    else if (parsed.kind === 'member') this.#member(parsed.device, message);
    else if (message.retain) return;
    else if (parsed.kind === 'call') this.#called();
    else if (parsed.kind === 'claim')
      this.#hear('groupClaim', message, (claim) => this.#claims.hear(claim.key, memberId(claim)));
    else if (parsed.kind === 'heard')
      this.#hear('groupHeard', message, (heard) => this.#probe.hear(heard.nonce, memberId(heard)));
    else this.#hear('groupProbe', message, ({ nonce }) => this.#say('groupHeard', this.#topics.heard, { nonce }));
  }

  /** For good: nothing is said or taken any more. */
  leave(): void {
    this.#isClosed = true;
    this.down();
  }

  /** Takes the retained state away [MQTT-3.3.1-10], which the others see as well. @throws LinkClosedError */
  async sayGone(link: Link): Promise<void> {
    await link.publish(this.#topics.member(this.#options.device), '', { retain: true });
  }

  #request(message: IncomingMessage, verb: string): void {
    const request = readGroupRequest(message);
    const { key, attempt, exclude, handedOn } = request;
    const take = (isFirst: boolean) =>
      this.#options.take(message, verb, { name: this.#topics.group, attempt: isFirst ? attempt : 2 });
    const hadItsTurn = exclude.includes(this.#options.device);
    if (this.#subscribed === 'shared') {
      // It has come to this device alone: it takes the request, or gives it to the others.
      const isLast = handedOn >= GROUP_HANDED_ON_MAX || this.#others.size === 0;
      if ((this.#takesRequests && !hadItsTurn) || isLast || !this.#handOn(message, request)) take(true);
      return;
    }
    this.#forgetLost();
    if (this.state === 'away') return;
    const members = new Map(
      [...this.#others].filter(([, { state }]) => state !== 'away').map(([name, { id }]) => [name, id]),
    );
    const others = (wanted: boolean) =>
      [...members].filter(([name]) => exclude.includes(name) === wanted).map(([, id]) => id);
    const own = (wanted: boolean) => (hadItsTurn === wanted ? [this.#id] : []);
    // Who had its turn comes last; where all had it, they have it again.
    const order = [false, true].flatMap((wanted) => rankMembers(key, [...own(wanted), ...others(wanted)]));
    // That it is busy moves only its own turn: what others see of that is old, and two would believe to be the first.
    this.#claims.offer(key, { order, rounds: (this.state === 'busy' ? 2 : 0) + (this.#isNew ? 1 : 0) }, take);
  }

  /** Not every other member has heard of it. */
  get #isNew(): boolean {
    return this.#options.monotonicNow() - this.#joinedMs < JOIN_SETTLE_MS;
  }

  /** A busy member steps in where no other is ready. */
  get #takesRequests(): boolean {
    return this.state === 'ready' || (this.state === 'busy' && this.#othersThatAre('ready').length === 0);
  }

  #othersThatAre(state: MemberPayload['state']): readonly (readonly [string, Other])[] {
    return [...this.#others].filter(([, other]) => other.state === state);
  }

  /** @returns false when it cannot be: this device answers as far as it can. */
  #handOn(message: IncomingMessage, { exclude, handedOn }: GroupRequest): boolean {
    const decoded = decodeRequest(message.payload);
    const link = this.#options.link();
    if (!decoded.ok || typeof decoded.value !== 'object' || decoded.value === null || link === undefined) return false;
    const body = decoded.value as Readonly<Record<string, unknown>>;
    const { responseTopic, correlationData, messageExpiryInterval } = message.properties;
    const properties = {
      ...jsonProperties(typeof body.schema === 'string' ? body.schema : undefined),
      ...(responseTopic === undefined ? {} : { responseTopic }),
      ...(correlationData === undefined ? {} : { correlationData }),
      ...(messageExpiryInterval === undefined ? {} : { messageExpiryInterval }),
    };
    const group = {
      ...(body.group as object | undefined),
      handedOn: handedOn + 1,
      exclude: [...new Set([...exclude, this.#options.device])],
    };
    const send = (): void => {
      link.publish(message.topic, JSON.stringify({ ...body, group }), { retain: false, properties }).catch((error) => {
        this.#options.logger.log('warn', 'A request of the group could not be handed on', { error: String(error) });
      });
    };
    // Later each time: the broker may give it back to this member until its subscription is gone.
    setTimeout(send, HAND_ON_MS * 3 ** handedOn);
    return true;
  }

  #member(device: string, message: IncomingMessage): void {
    const before = this.#wanted;
    const known = this.#others.get(device);
    if (message.payload.length === 0) this.#others.delete(device);
    else {
      this.#hear('groupMember', message, (member: MemberPayload) => {
        const id = memberId(member);
        if (member.device !== device || id === this.#id) return;
        if (member.state === 'away' && member.reason === 'lost') {
          // The will of another run says nothing of the one that is known.
          if (known === undefined || known.id === id) this.#others.delete(device);
          return;
        }
        if (known === undefined && this.#others.size >= MAX_MEMBERS) return;
        const { state, delivery } = member;
        this.#others.set(device, { id, state, delivery, heardMs: this.#options.monotonicNow() });
      });
    }
    if (this.#wanted !== before) this.#settle();
  }

  /** Says how it stands: a little later, so that a large group does not answer in one moment. */
  #called(): void {
    this.#callTimer ??= setTimeout(() => {
      this.#callTimer = undefined;
      if (this.#isProbed) this.#announce();
    }, Math.random() * CALL_SPREAD_MS);
  }

  async #findDelivery(link: Link): Promise<GroupDelivery> {
    const { delivery, logger } = this.#options;
    if (delivery !== undefined) return delivery;
    try {
      await link.subscribe(this.#topics.sharedProbe);
      const isShared = await this.#probe.run((nonce) =>
        this.#publish(link, this.#topics.probe, this.#stamped('groupProbe', this.#topics.probe, { nonce })),
      );
      const found = isShared ? 'shared' : 'members';
      logger.log('info', 'Joined a group of devices', { group: this.#topics.group, delivery: found });
      return found;
    } catch (error) {
      if (error instanceof LinkClosedError) throw error;
      logger.log('info', 'The broker refuses shared subscriptions; the members of the group agree among themselves', {
        group: this.#topics.group,
        error: error instanceof Error ? error.message : String(error),
      });
      return 'members';
    }
  }

  /** Subscriptions and the announced state follow how this device stands. */
  #settle(): void {
    this.#enqueue(async () => {
      const link = this.#options.link();
      if (link !== undefined && this.#isProbed) await this.#apply(link);
    });
  }

  /** A member that takes none must not be given requests; one that gets them like all others just lets them pass. */
  get #wanted(): 'none' | GroupDelivery {
    if (this.delivery === 'members') return 'members';
    return this.#takesRequests ? 'shared' : 'none';
  }

  async #apply(link: Link): Promise<void> {
    if (this.state === 'busy' && this.#subscribed === 'shared' && this.#wanted === 'none') {
      this.#announce();
      await sleep(BUSY_SETTLE_MS);
    }
    const wanted = this.#wanted;
    const filterOf = { members: this.#topics.requests, shared: this.#topics.sharedRequests } as const;
    const before = this.#subscribed;
    if (wanted !== before) {
      // The new one first: a request in between comes twice rather than never.
      if (wanted !== 'none') await link.subscribe(filterOf[wanted]);
      this.#subscribed = wanted;
      if (before !== 'none') await link.unsubscribe(filterOf[before]);
    }
    if (this.state !== this.#announced) this.#announce();
  }

  #announce(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#announceTimer);
    this.#announceTimer = setTimeout(() => this.#announce(), this.#announceEveryMs * (0.9 + 0.2 * Math.random()));
    this.#announceTimer.unref();
    const { state, awayReason } = this;
    this.#announced = state;
    const reason = awayReason === undefined ? {} : { reason: awayReason };
    this.#say(
      'groupMember',
      this.#topics.member(this.#options.device),
      { state, ...reason, delivery: this.#seen },
      true,
    );
  }

  get #announceEveryMs(): number {
    return ANNOUNCE_MS * Math.max(1, (this.#others.size + 1) / SMALL_GROUP);
  }

  #forgetLost(): void {
    const oldestMs = this.#options.monotonicNow() - this.#announceEveryMs * LOST_AFTER;
    for (const [device, { heardMs }] of this.#others) if (heardMs < oldestMs) this.#others.delete(device);
  }

  #hear<Name extends 'groupMember' | 'groupClaim' | 'groupHeard' | 'groupProbe'>(
    name: Name,
    message: IncomingMessage,
    listener: (payload: z.infer<(typeof busSchemas)[Name]>) => void,
  ): void {
    const decoded = decodeRequest(message.payload);
    const schema = busSchemas[name] as unknown as z.ZodType<z.infer<(typeof busSchemas)[Name]>>;
    const parsed = decoded.ok ? readPayload(schema, decoded.value) : undefined;
    if (parsed?.success) listener(parsed.data);
    else
      this.#options.logger.log('debug', 'Skipped a message of the group that does not fit', { topic: message.topic });
  }

  #stamped(name: SchemaName, topic: string, fields: object): object {
    return this.#options.stamper.make(name, topic, { group: this.#topics.group, ...fields }) as object;
  }

  /** Publishes without waiting; what is lost with the connection is said again on the next one. */
  #say(name: SchemaName, topic: string, fields: object, retain = false): void {
    const link = this.#options.link();
    if (link === undefined || this.#isClosed) return;
    this.#publish(link, topic, this.#stamped(name, topic, fields), retain).catch((error: unknown) => {
      if (error instanceof LinkClosedError) return;
      this.#options.logger.log('warn', 'A message to the group was refused', { topic, error: String(error) });
    });
  }

  #publish(link: Link, topic: string, payload: object, retain = false): Promise<unknown> {
    const { schema } = payload as { readonly schema?: string };
    return link.publish(topic, JSON.stringify(payload), { retain, properties: jsonProperties(schema) });
  }

  /** One after the other: a subscription must not overtake the one before. */
  #enqueue(step: () => Promise<unknown>): void {
    this.#work = this.#work.then(step).then(
      () => {},
      (error: unknown) => {
        if (error instanceof LinkClosedError || this.#isClosed) return;
        this.#options.logger.log('error', 'This device cannot take part in a group', {
          group: this.#topics.group,
          error: error instanceof Error ? error.message : String(error),
        });
      },
    );
  }
}
