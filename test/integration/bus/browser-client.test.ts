/** `scenebus/client` in a browser, over the WebSocket of the embedded broker. */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import mqtt from 'mqtt';
import { chromium } from 'playwright-core';
import { rolldown } from 'rolldown';
import { describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { connectBus, type EmbeddedBroker, openEmbeddedBroker } from '#sdk/bus/index.js';
import { observation } from '../../support/observations.js';

const ENTRY = fileURLToPath(new URL('../../support/browser-entry.mjs', import.meta.url));
const CHROMIUM = '/usr/bin/chromium';

/** One script for a page, which defines `scenebus`. Fails on everything that a browser lacks. */
async function bundle(): Promise<{ readonly code: string; readonly warnings: readonly string[] }> {
  const warnings: string[] = [];
  const build = await rolldown({
    input: ENTRY,
    platform: 'browser',
    onLog: (level, log) => {
      if (level === 'warn') warnings.push(log.message);
    },
  });
  const { output } = await build.generate({ format: 'iife', name: 'scenebus', minify: true });
  await build.close();
  return { code: output[0].code, warnings };
}

/** Runs in the page: asks, and waits for an event. */
const PROGRAM = `async (url) => {
  const client = await scenebus.connect(url);
  const event = new Promise((resolve) => client.onEvent('kiosk', resolve));
  const pieces = [];
  const answer = await client.ask('kiosk', 'Where is the cup?', { timeoutMs: 10000, onText: (text) => pieces.push(text) });
  const shot = await client.snapshot('kiosk');
  const { eventId } = await event;
  await client.close();
  return { text: answer.text, pieces, bytes: [...shot.jpeg], eventId, version: client.protocolVersion };
}`;
const EXPECTED = { text: 'Asked: Where is the cup?', pieces: ['Asked'], bytes: [255, 216, 1], eventId: 'e1' };

async function startKiosk(broker: EmbeddedBroker) {
  const bus = await connectBus({ url: broker.url, device: 'kiosk' });
  bus.onAsk(async ({ question }, { partial }) => {
    partial?.('Asked');
    const { frame, model } = observation();
    void bus.publishEvent('cam0', {
      ...{ frame, model, watch: 'door', eventId: 'e1', type: 'new', question: 'Open?', answerType: 'yes-no' },
      ...{ value: true, previous: null, probability: 0.8, startedAtMs: 0, evidence: { objects: [] } },
    });
    return observation(`Asked: ${question}`);
  });
  bus.handle('snapshot', async () => {
    const { frame } = observation();
    return { camera: 'cam0', frame, jpeg: Uint8Array.of(255, 216, 1), width: 640, height: 480 };
  });
  return bus;
}

describe('scenebus/client', () => {
  test('bundles for browsers without anything of Node, and works with what a worker of a page has', async () => {
    const { code, warnings } = await bundle();
    expect(warnings).toEqual([]);
    expect(code).not.toMatch(/["'`]node:|require\(["'`](fs|net|tls|crypto|timers)/);
    await using broker = await openEmbeddedBroker({ port: 0, webSocket: { port: 0 } });
    await using _bus = await startKiosk(broker);
    // ArrayBuffer and Uint8Array cross from the socket, so they must be one and the same on both sides.
    const page = createContext({
      ...{ ArrayBuffer, Uint8Array },
      ...{
        WebSocket,
        setTimeout,
        clearTimeout,
        setInterval,
        clearInterval,
        queueMicrotask,
        structuredClone,
        atob,
        btoa,
      },
      ...{
        URL,
        TextEncoder,
        TextDecoder,
        AbortController,
        AbortSignal,
        Event,
        EventTarget,
        Blob,
        performance,
        console,
      },
      crypto: { getRandomValues: crypto.getRandomValues.bind(crypto) },
      navigator: { userAgent: 'a page', product: 'Gecko' },
      location: new URL('http://localhost/'),
    });
    runInContext(`globalThis.self = globalThis; self.constructor = class DedicatedWorkerGlobalScope {}; ${code}`, page);
    const result = await (runInContext(`(${PROGRAM})`, page) as (url?: string) => Promise<object>)(broker.webSocketUrl);
    expect(JSON.parse(JSON.stringify(result))).toMatchObject(EXPECTED);
  });

  test.runIf(existsSync(CHROMIUM))('runs in Chromium, on a page that this machine serves', async () => {
    const { code } = await bundle();
    await using broker = await openEmbeddedBroker({ port: 0, webSocket: { port: 0 } });
    await using _bus = await startKiosk(broker);
    // Served for real: Chromium lets only pages of this machine reach this machine without asking.
    const server = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<p>kiosk');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const pageUrl = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/`;
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    try {
      const page = await browser.newPage();
      await page.goto(pageUrl);
      await page.addScriptTag({ content: code });
      expect(await page.evaluate(`(${PROGRAM})(${JSON.stringify(broker.webSocketUrl)})`)).toMatchObject(EXPECTED);
    } finally {
      await browser.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

describe('the WebSocket of the embedded broker', () => {
  const connects = (url: string, origin?: string) =>
    new Promise<boolean>((resolve) => {
      const wsOptions = origin === undefined ? {} : { headers: { origin } };
      const client = mqtt.connect(url, { reconnectPeriod: 0, protocolVersion: 4, wsOptions });
      client.on('connect', () => {
        resolve(true);
        client.end(true);
      });
      client.on('error', () => {});
      client.on('close', () => resolve(false));
    });

  test('is closed to pages of others, and open to this machine, the listed and programs', async () => {
    const warnings: string[] = [];
    await using broker = await openEmbeddedBroker({
      port: 0,
      webSocket: { port: 0, origins: ['https://kiosk.example'] },
      logger: { log: (level, message) => level === 'warn' && warnings.push(message) },
    });
    const url = broker.webSocketUrl ?? '';
    expect(await connects(url)).toBe(true);
    expect(await connects(url, 'http://localhost:3000')).toBe(true);
    expect(await connects(url, 'https://kiosk.example')).toBe(true);
    expect(warnings).toEqual([]);
    for (const origin of ['https://evil.example', 'http://localhost.evil.example', 'null', 'file://']) {
      expect(await connects(url, origin), origin).toBe(false);
    }
    expect(warnings).toHaveLength(4);
  });

  test('asks for the same credentials, and is not there unless it is configured', async () => {
    await using closed = await openEmbeddedBroker({ port: 0 });
    expect(closed.webSocketUrl).toBeUndefined();
    const account = { username: 'robot', password: 'hunter2' };
    await using broker = await openEmbeddedBroker({ port: 0, webSocket: { port: 0 }, ...account });
    const url = broker.webSocketUrl ?? '';
    await expect(connectBus({ url, device: 'dev' })).rejects.toMatchObject({ code: 'ERR_BUS_REJECTED' });
    await using bus = await connectBus({ url, device: 'dev', ...account });
    expect(bus.state).toBe('online');
  });

  test('says that its port is taken', async () => {
    await using first = await openEmbeddedBroker({ port: 0, webSocket: { port: 0 } });
    const port = Number(new URL(first.webSocketUrl ?? '').port);
    await expect(openEmbeddedBroker({ port: 0, webSocket: { port } })).rejects.toMatchObject({
      code: 'ERR_BUS_PORT_IN_USE',
      details: { port },
    });
  });
});
