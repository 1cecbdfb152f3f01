import type { Logger } from 'scenebus';
import {
  type AnswerKeeper,
  type Bus,
  type BusLimits,
  connectBus,
  type EmbeddedBroker,
  type OutwardOptions,
  openEmbeddedBroker,
  readTlsFiles,
} from 'scenebus/bus';
import { DisposalStack } from 'scenebus/service';
import type { DeviceConfig } from '../config/schema.js';

export interface BusConnection extends AsyncDisposable {
  readonly bus: Bus;
  /** Only where the configuration names no broker. */
  readonly embeddedBroker: EmbeddedBroker | undefined;
}

export interface OpenBusOptions {
  readonly config: DeviceConfig;
  readonly logger: Logger;
  /** true: an unreachable broker is an error. false: it is tried in the background. */
  readonly requireBroker: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly keepAnswer?: AnswerKeeper | undefined;
  /** Places outside of the device's own topics. */
  readonly outward?: OutwardOptions | undefined;
}

/** The configured broker, or one of our own on loopback. */
export async function openBus(options: OpenBusOptions): Promise<BusConnection> {
  const { config, logger, requireBroker, signal, keepAnswer, outward } = options;
  const resources = new DisposalStack();
  const tls = config.broker?.tls;
  try {
    const embeddedBroker = config.broker ? undefined : resources.use(await openEmbedded(config, logger));
    const bus = resources.use(
      await connectBus({
        url: config.broker?.url ?? embeddedBroker?.url ?? '',
        alternatives: config.broker?.alternatives,
        root: config.root,
        device: config.device,
        username: config.secrets.mqttUsername,
        password: config.secrets.mqttPassword,
        // The embedded broker speaks 3.1.1 only: trying 5 first would cost a round trip and a line in its log.
        protocolVersion: embeddedBroker ? 4 : config.broker?.protocolVersion,
        keepaliveSeconds: config.broker?.keepaliveSeconds,
        tls: tls && { ...(await readTlsFiles(tls)), servername: tls.servername },
        waitForBroker: requireBroker,
        responseTopics: config.responseTopics,
        groups: config.groups,
        ...busLimits(config),
        keepAnswer,
        outward,
        logger,
        signal,
      }),
    );
    return { bus, embeddedBroker, [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose]() };
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}

/** What may change while the bus is open. */
export function busLimits({ describe, ask }: Pick<DeviceConfig, 'describe' | 'ask'>): BusLimits {
  return {
    sceneExpirySeconds: describe.expirySeconds,
    clientLimits: ask.perCaller,
    requestTimeoutMs: ask.timeoutMs,
  };
}

function openEmbedded({ embeddedBroker, secrets }: DeviceConfig, logger: Logger): Promise<EmbeddedBroker> {
  const { mqttUsername: username, mqttPassword: password } = secrets;
  return openEmbeddedBroker({ ...embeddedBroker, username, password, logger });
}
