import { isSdkError, type Logger, type OnProgress } from 'scenebus';
import { type BusClient, connectClient, parseTopic } from 'scenebus/client';
import { consoleInvitation } from '../app/console-link.js';
import type { DeviceParts } from '../app/device-parts.js';
import { DeviceService, type StartOptions } from '../app/device-service.js';
import type { DeviceConfig } from '../config/schema.js';
import { type DemoOutput, printMessage } from './message-printer.js';

export interface DemoOptions {
  readonly config: DeviceConfig;
  readonly parts: DeviceParts;
  /** So that its settings can be changed on the console. */
  readonly configSource?: StartOptions['configSource'];
  readonly terminal: DemoOutput;
  /** Whether people read it, and no log: then it may show the link to the console. */
  readonly isTerminal?: boolean | undefined;
  readonly logger: Logger;
  readonly onProgress: OnProgress;
  /** Ends the demo; what it did is reported all the same. */
  readonly signal: AbortSignal;
  readonly questions: readonly string[];
  /** After the start; endless when left out. */
  readonly durationMs?: number | undefined;
  /** How a reader asks from a second terminal, given the broker's address. */
  readonly howToAsk: (broker: string) => readonly string[];
}

export interface DemoSummary {
  readonly scenes: number;
  readonly answers: number;
  readonly failures: number;
  readonly seconds: number;
}

/**
 * The whole product once: the service publishes what its camera sees, and a client that is no part of it asks over the
 * bus. Every message is printed with its topic.
 */
export async function runDemo(options: DemoOptions): Promise<DemoSummary> {
  const { config, terminal, signal } = options;
  const count = { scenes: 0, answers: 0, failures: 0 };
  let sawScene = () => {};
  const firstScene = new Promise<void>((resolve) => {
    sawScene = resolve;
  });
  const service = await DeviceService.start(config, {
    ...options,
    requireBroker: true,
    onBus: (bus) => {
      bus.onPublished(({ topic, payload }) => {
        printMessage(topic, payload, terminal);
        if (parseTopic(config.root, topic)?.kind !== 'camera-scene') return;
        count.scenes++;
        sawScene();
      });
    },
  });
  const startedAt = performance.now();
  const end = endSignal(signal, options.durationMs);
  try {
    await using client = await connectClient({
      url: config.broker?.url ?? service.bus.broker,
      root: config.root,
      username: config.secrets.mqttUsername,
      password: config.secrets.mqttPassword,
    });
    await untilAborted(firstScene, end);
    for (const question of end.aborted ? [] : options.questions) {
      const isAnswered = await ask(client, question, end, options);
      if (isAnswered !== undefined) count[isAnswered ? 'answers' : 'failures']++;
    }
    if (!end.aborted) for (const line of options.howToAsk(service.bus.broker)) terminal.out(line);
    // Last, where a reader's eyes are.
    const { isTerminal = false } = options;
    const link = end.aborted ? undefined : await consoleInvitation(service, { isTerminal, file: undefined });
    if (link !== undefined) terminal.out(`See it in a browser:\n  ${link}\n`);
    await untilAborted(new Promise(() => {}), end);
  } finally {
    await service.stop();
  }
  return { ...count, seconds: (performance.now() - startedAt) / 1000 };
}

/** undefined: the demo ended before there was an answer. The answer itself is printed as the message that it is. */
async function ask(
  client: BusClient,
  question: string,
  signal: AbortSignal,
  { config, terminal }: DemoOptions,
): Promise<boolean | undefined> {
  const topic = `${config.root}/${config.device}/request/ask`;
  terminal.out(`${terminal.paint('magenta', topic)}  ${JSON.stringify({ question })}`);
  try {
    await client.ask(config.device, question, { timeoutMs: config.ask.timeoutMs, signal });
    return true;
  } catch (error) {
    if (signal.aborted) return undefined;
    // The device's refusal was printed as its message; what never came would go unseen.
    if (!isSdkError(error) || error.code === 'ERR_BUS_TIMEOUT') terminal.note(`error: ${String(error)}`);
    return false;
  }
}

/**
 * Aborts with `signal` or after the duration. With a timer of its own: on Node 20 `AbortSignal.any` holds its sources
 * weakly, so an `AbortSignal.timeout` that nobody else holds may be collected and never fire.
 */
function endSignal(signal: AbortSignal, durationMs: number | undefined): AbortSignal {
  if (durationMs === undefined) return signal;
  const end = new AbortController();
  const timer = setTimeout(() => end.abort(), durationMs);
  timer.unref(); // what runs keeps the process alive; a demo that failed does not wait for its time
  const onAbort = () => {
    clearTimeout(timer);
    end.abort();
  };
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  return end.signal;
}

/** Resolves when the promise does or the signal aborts, whichever is first. */
async function untilAborted(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  let onAbort = () => {};
  const aborted = new Promise<void>((resolve) => {
    onAbort = resolve;
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
