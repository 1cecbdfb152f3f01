/** Nothing accepted is lost: a real broker and the service itself are killed (SIGKILL) while 10 000 events go through. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import mqtt, { type MqttClient } from 'mqtt';
import { describe, expect, test } from 'vitest';
import { startMosquitto, startProxy } from '../support/brokers.js';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const EVENTS = 10_000;
const KILLS = 8;
/** Emitted and not yet accepted, at most: as in the service's script. */
const UNDER_WAY = 64;
const SERVICE = fileURLToPath(new URL('../../dist/test/support/event-service.js', import.meta.url));

/** Repeatable (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('events while everything is killed again and again', () => {
  test(`${EVENTS} accepted events arrive at least once, in order, repetitions marked`, {
    timeout: 120_000,
  }, async () => {
    const seed = Date.now() % 2 ** 31;
    const next = random(seed);
    const directory = await makeTemporaryFolder('scenebus-victim-');
    // Unlimited: what the broker acknowledged it has handed on, so that its own death loses nothing.
    await using broker = await startMosquitto(
      'listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n',
    );
    await using proxy = await startProxy(broker.port);
    const acceptedFile = join(directory, 'accepted');
    const readAccepted = () =>
      new Set(
        existsSync(acceptedFile) ? readFileSync(acceptedFile, 'utf8').split('\n').filter(Boolean).map(Number) : [],
      );
    const received: { readonly number: number; readonly repeated: boolean }[] = [];
    let listener: MqttClient | undefined;
    const listen = async () => {
      // QoS 0: a listener that owes no acknowledgement is not reset together with what it has not read yet.
      listener = await mqtt.connectAsync(broker.url, { protocolVersion: 5, reconnectPeriod: 0 });
      listener.on('message', (_topic, payload) => {
        const event = JSON.parse(payload.toString());
        received.push({ number: Number(event.eventId), repeated: event.repeated === true });
      });
      await listener.subscribeAsync('scenebus/victim/camera/cam/event', { qos: 0 });
    };
    await listen();

    let last = 0;
    const failed: Error[] = [];
    const start = () => {
      const first = last + 1;
      const child = spawn(process.execPath, [SERVICE, proxy.url, directory, String(first), String(EVENTS)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const started = new Promise<void>((resolve) => {
        child.once('exit', () => resolve());
        child.stdout.once('data', () => resolve());
      });
      child.once('exit', (code) => {
        if (code !== null) failed.push(new Error(`the service ended by itself with ${code}`));
      });
      const kill = async () => {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      };
      return { child, started, kill };
    };

    let service = start();
    const killed = { service: 0, broker: 0 };
    const acceptedAtKill: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      // Some die while they start, some while they write, some while they send.
      if (kill % 4 !== 3) await service.started;
      await new Promise((resolve) => setTimeout(resolve, 50 + next() * 900));
      acceptedAtKill.push(readAccepted().size);
      if (kill % 2 === 0) {
        await service.kill();
        killed.service += 1;
        // The next number that was certainly never emitted: those in between may or may not have been kept.
        last = Math.max(last, ...readAccepted()) + UNDER_WAY;
        service = start();
      } else {
        await broker.kill();
        killed.broker += 1;
        proxy.close();
        await broker.restart();
        await listen();
        proxy.open();
      }
    }
    await service.started;
    while (failed.length === 0 && !isComplete(readAccepted(), received))
      await new Promise((resolve) => setTimeout(resolve, 200));
    expect(failed).toEqual([]);
    await service.kill();
    await listener?.endAsync(true);

    const seen = new Set<number>();
    const firsts: number[] = [];
    const unmarked: number[] = [];
    for (const { number, repeated } of received) {
      if (!seen.has(number)) firsts.push(number);
      else if (!repeated) unmarked.push(number);
      seen.add(number);
    }
    const facts = {
      seed,
      accepted: readAccepted().size,
      received: received.length,
      repeated: received.length - seen.size,
      killed,
      acceptedAtKill,
    };
    console.log(JSON.stringify(facts));
    expect(firsts, `seed ${seed}`).toEqual([...firsts].sort((a, b) => a - b));
    expect(unmarked, `seed ${seed}`).toEqual([]);
    expect(killed).toEqual({ service: KILLS / 2, broker: KILLS / 2 });
  });
});

function isComplete(accepted: ReadonlySet<number>, received: readonly { readonly number: number }[]): boolean {
  const arrived = new Set(received.map(({ number }) => number));
  return accepted.has(EVENTS) && [...accepted].every((number) => arrived.has(number));
}
