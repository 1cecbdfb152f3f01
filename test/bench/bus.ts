/**
 * How long the bus itself takes: question to answer with a handler that answers at once, and scenes per second.
 *
 *     node dist/test/bench/bus.js
 */
import { cpus } from 'node:os';
import { connectClient } from 'scenebus/client';
import { connectBus } from '#sdk/bus/index.js';
import { startEmbedded, startMosquitto, type TestBroker } from '../support/brokers.js';
import { observation } from '../support/observations.js';

const ASKS = 200;
const SCENES = 2_000;

async function measure(name: string, start: () => Promise<TestBroker>): Promise<void> {
  await using broker = await start();
  await using bus = await connectBus({
    url: broker.url,
    device: 'bench',
    // One caller asks as fast as it can.
    clientLimits: { requestsPerSecond: 100_000, burst: 100_000 },
  });
  bus.onAsk(async ({ question }) => observation(question));
  await using client = await connectClient(broker.url);
  await client.ask('bench', 'warm up');
  const timesMs: number[] = [];
  for (let n = 0; n < ASKS; n += 1) {
    const startedMs = performance.now();
    await client.ask('bench', `question ${n}`);
    timesMs.push(performance.now() - startedMs);
  }
  timesMs.sort((a, b) => a - b);
  const startedMs = performance.now();
  // Different cameras, so that no scene replaces another.
  for (let n = 0; n < SCENES; n += 20) {
    await Promise.all(
      Array.from({ length: 20 }, (_, camera) => bus.publishScene(`cam${camera}`, observation(`scene ${n}`))),
    );
  }
  const scenesPerSecond = SCENES / ((performance.now() - startedMs) / 1000);
  const at = (share: number): string => (timesMs[Math.floor(ASKS * share)] ?? 0).toFixed(1);
  const version = bus.protocolVersion === 5 ? 'MQTT 5' : 'MQTT 3.1.1';
  console.log(
    `${name.padEnd(28)} ${version.padEnd(11)} ask median ${at(0.5)} ms, 95 % ${at(0.95)} ms; ${scenesPerSecond.toFixed(0)} acknowledged scenes/s`,
  );
}

console.log(`${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}`);
await measure('Mosquitto', () => startMosquitto());
await measure('Mosquitto, set_tcp_nodelay', () =>
  startMosquitto('listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n'),
);
await measure('embedded', startEmbedded);
