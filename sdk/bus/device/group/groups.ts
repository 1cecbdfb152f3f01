/**
 * The groups of a device, on a connection of their own without a session: Mosquitto gives a member with a session its
 * share of the requests while it is away, and nobody would answer them.
 */
import { SdkError } from '../../../core/errors.js';
import { LIMITS } from '../../../core/limits.js';
import type { Logger } from '../../../core/logger.js';
import { groupTopics } from '../../contract/group-topics.js';
import type { GroupDelivery } from '../../contract/schemas/index.js';
import { BusConnection } from '../../transport/connection.js';
import type { IncomingMessage, Link } from '../../transport/link.js';
import type { ConnectionOptions } from '../../transport/types.js';
import type { PayloadStamper } from '../payloads.js';
import type { TakenRequest } from '../request-server.js';
import type { GroupMark } from '../routes.js';
import { GroupMember } from './member.js';

export interface GroupOptions {
  /** Name of the group: one level of a topic. */
  readonly name: string;
  /** Requests being answered from which on this device is busy and leaves those of the group to others. Default 4. */
  readonly busyAt?: number | undefined;
  /**
   * How the broker gives requests to the members. Left out: a probe finds out. `members`: all get each request and
   * agree on one by claims; needed where brokers with a bridge carry the group, if the probe cannot pass it.
   */
  readonly delivery?: GroupDelivery | undefined;
}

/** How this device stands in a group. */
export interface GroupStanding {
  readonly name: string;
  /** busy: takes requests of the group only while no member is ready; away: takes none. */
  readonly state: 'ready' | 'busy' | 'away';
  /** Why it is away; undefined: it is not. */
  readonly awayReason: string | undefined;
  readonly delivery: GroupDelivery;
  /** Members that take requests now, as far as this device knows. */
  readonly readyMembers: number;
}

export interface GroupsOptions {
  readonly connection: ConnectionOptions;
  readonly clientId: string;
  readonly root: string;
  readonly device: string;
  readonly groups: readonly GroupOptions[];
  readonly stamper: PayloadStamper;
  readonly take: (message: IncomingMessage, verb: string, group: GroupMark) => TakenRequest | undefined;
  /** Requests that are being answered, of all callers. */
  readonly active: () => number;
  /** Whether there is a handler for questions. */
  readonly isReady: () => boolean;
  readonly logger: Logger;
}

const BUSY_AT = 4;

export class Groups {
  readonly #options: GroupsOptions;
  readonly #entries: readonly Entry[];
  #reason: string | undefined;

  /** @throws SdkError ERR_ARGUMENT_INVALID for a name that cannot be a topic level, or that comes twice */
  constructor(options: GroupsOptions) {
    this.#options = options;
    const names = options.groups.map(({ name }) => name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined || names.length > LIMITS.busGroups) {
      const came = twice === undefined ? `${names.length}` : `${JSON.stringify(twice)} twice`;
      throw new SdkError(
        'ERR_ARGUMENT_INVALID',
        `Expected at most ${LIMITS.busGroups} groups with different names, but received ${came}.`,
      );
    }
    // One connection each: a connection has one will.
    this.#entries = options.groups.map((group) => this.#entryOf(group));
    this.look();
  }

  async start(): Promise<void> {
    for (const { connection } of this.#entries) await connection.start();
  }

  get standings(): readonly GroupStanding[] {
    return this.#entries.map(({ member, group }) => ({
      name: group.name,
      state: member.state,
      awayReason: member.awayReason,
      delivery: member.delivery,
      readyMembers: member.readyMembers,
    }));
  }

  /** undefined: the device works; else why it should be asked nothing. */
  stand(reason: string | undefined): void {
    this.#reason = reason;
    this.look();
  }

  /** Looks again at how much there is to do. */
  look(): void {
    const active = this.#options.active();
    for (const entry of this.#entries) {
      const busyAt = entry.group.busyAt ?? BUSY_AT;
      // Half of it must be done before more is taken: else it would come and go with every answer.
      entry.isBusy = entry.isBusy ? active > busyAt / 2 : active >= busyAt;
      entry.member.stand(this.#options.isReady() ? this.#reason : 'starting', entry.isBusy);
    }
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#entries.map(({ connection, member }) => {
        member.leave();
        return connection.close((link) => member.sayGone(link));
      }),
    );
  }

  #entryOf(group: GroupOptions): Entry {
    const { root, device, stamper, take, logger, clientId } = this.#options;
    /** Before the connection counts as online, its first messages go out. */
    let current: Link | undefined;
    const member = new GroupMember({
      topics: groupTopics(root, group.name),
      device,
      stamper,
      delivery: group.delivery,
      link: () => current,
      take,
      logger,
      monotonicNow: () => performance.now(),
    });
    const connection = new BusConnection(
      { ...this.#options.connection, waitForBroker: false, signal: undefined },
      {
        // `$` is in no name.
        clientId: `${clientId}$group$${group.name}`,
        sessionExpirySeconds: 0,
        will: () => ({ ...member.will, delaySeconds: 0 }),
      },
      {
        onUp: async (link) => {
          current = link;
          await member.up(link);
        },
        onDown: () => {
          current = undefined;
          member.down();
        },
        onMessage: (_link, message) => {
          try {
            member.receive(message);
          } catch (error) {
            // Nothing that a stranger sends may take the service down.
            logger.log('error', 'A message of a group could not be handled', {
              topic: message.topic,
              error: String(error),
            });
          }
        },
        onState: () => {},
      },
    );
    return { group, member, connection, isBusy: false };
  }
}

interface Entry {
  readonly group: GroupOptions;
  readonly member: GroupMember;
  readonly connection: BusConnection;
  isBusy: boolean;
}
