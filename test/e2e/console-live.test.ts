/// <reference lib="dom" />
/** What the console shows of a device as it runs: live pictures, figures over restarts, connections, log, messages. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { loadModel, openCamera, type VisionLanguageModel } from 'scenebus';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceService } from '#device/app/device-service.js';
import {
  clip,
  demoModel,
  deviceName,
  lend,
  makeConfig,
  startService,
  topic,
} from '../integration/device/demo-device.js';
import { mosquittoTool, startMosquitto, type TestBroker } from '../support/brokers.js';
import {
  brightestPoint,
  expectSoundNow,
  expectSoundPage,
  followShifts,
  launchBrowser,
  openPage,
  PHONE,
  placeOf,
} from '../support/console-browser.js';
import { writeEarlierRun } from '../support/earlier-run.js';
import { expectKeyboardReach } from '../support/keyboard-walk.js';

const VIEWS = ['charts', 'connections', 'log', 'mqtt'] as const;

let folder: string;
let broker: TestBroker;
let model: VisionLanguageModel;
let service: DeviceService;
let browser: Browser;
let address: string;
let context: BrowserContext;
let page: Page;
const faults: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-console-'));
  broker = await startMosquitto();
  model = await loadModel(demoModel, { cacheDirectory: join(folder, 'cache') });
  const config = await makeConfig({
    broker: { url: broker.url },
    console: { port: 0 },
    journal: { directory: join(folder, 'journal'), frames: true },
    describe: { minIntervalSeconds: 1 },
    cameras: [
      {
        id: 'table',
        address: clip,
        loop: true,
        masks: [
          [
            [0, 0],
            [0.15, 0],
            [0.15, 0.15],
            [0, 0.15],
          ],
        ],
      },
    ],
  });
  await writeEarlierRun(config);
  service = await startService(config, { parts: lend(model, { openCamera }) });
  address = service.consoleAddress ?? '';
  browser = await launchBrowser();
  context = await browser.newContext({ viewport: { width: 1_440, height: 900 } });
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: address });
  page = await openPage(context, address, faults);
  await page.goto(service.makeConsoleLink()!);
  await page.getByRole('heading', { name: 'Live' }).waitFor();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await service?.stop();
  await model?.[Symbol.asyncDispose]();
  await broker?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

const show = (hash: string) => page.goto(`${address}/#/${hash}`);

describe('the live page', () => {
  test('shows masks over the moving picture, and tracks on the frame that was described', async () => {
    await show('live');
    await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frame !== undefined);
    await expect
      .poll(() => page.locator('figure .mask-outlines polygon').count(), { timeout: 20_000 })
      .toBeGreaterThanOrEqual(1);
    // Below a mask is nothing to be seen but its grey.
    const level = await page.locator('canvas').evaluate((element) => {
      const canvas = element as HTMLCanvasElement;
      return [...canvas.getContext('2d')!.getImageData(canvas.width * 0.05, canvas.height * 0.05, 1, 1).data];
    });
    for (const value of level.slice(0, 3)) expect(Math.abs(value - 128)).toBeLessThan(6);
    await page.locator('figure .box').filter({ hasText: /#\d+$/ }).first().waitFor({ timeout: 30_000 });
  });

  test('shows where the model looks, over the frame that was described, and goes on when it is hidden', async () => {
    await show('live');
    const described = page.locator('figure').filter({ hasText: 'table as described' });
    await described.getByText('Where does the model look?').click();
    await described.locator('.look button').first().click();
    const heat = described.locator('img.heat');
    const { x, y } = await brightestPoint(heat);
    const label = await described.locator('.look button[aria-pressed=true]').textContent();
    const box = await placeOf(described.locator(`.box[data-label="${label}"]`).first());
    expect([x > box.x1 && x < box.x2, y > box.y1 && y < box.y2], JSON.stringify({ x, y, box })).toEqual([true, true]);
    await described.getByText(/^held, /).waitFor();
    const seen = await described.locator('img').first().getAttribute('src');
    await expectSoundNow(page, 'live-heat-1440-light');
    expect(await described.locator('img').first().getAttribute('src')).toBe(seen);
    await described.getByRole('button', { name: 'Hide the map' }).click();
    await page.waitForFunction(
      (src) => document.querySelector('figure .picture > img')?.getAttribute('src') !== src,
      seen,
    );
  });

  test('asks for no picture while it is hidden, and goes on afterwards', async () => {
    const closed = page.evaluate(() => {
      const canvas = document.querySelector('canvas')!;
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });
      document.dispatchEvent(new Event('visibilitychange'));
      return canvas.dataset.frame;
    });
    await closed;
    await page.locator('.picture .over').filter({ hasText: 'Connecting' }).waitFor();
    const before = await page.locator('canvas').getAttribute('data-frame');
    await page.evaluate(() => {
      delete (document as { hidden?: boolean }).hidden;
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await page.waitForFunction((id) => document.querySelector('canvas')?.dataset.frame !== id, before);
  });

  test('says that the broker is gone and what to do, and that it is back', async () => {
    const lamp = page.locator('[data-lamp=broker]');
    // Meanwhile somebody reads the figures on a phone.
    const phone = await openPage(context, address, faults);
    await phone.setViewportSize(PHONE);
    await phone.goto(`${address}/#/health`);
    await phone.locator('.chart').first().waitFor();
    const shifts = await followShifts(phone);
    await broker.kill();
    await page.locator('[data-lamp=broker][data-state=bad]').waitFor({ timeout: 30_000 });
    await lamp.getByText('Check that the broker runs').waitFor();
    const told = phone.locator('.problems summary');
    await told.waitFor();
    await broker.restart();
    await page.locator('[data-lamp=broker][data-state=good]').waitFor({ timeout: 60_000 });
    await told.waitFor({ state: 'detached' });
    const { sum, nodes } = await shifts();
    expect(sum, nodes.join('\n')).toBeLessThan(0.02);
    // That it would have been heard.
    await phone.evaluate(() => document.querySelector('main')!.prepend(document.createElement('h1'), 'moved'));
    expect((await shifts()).sum).toBeGreaterThan(0.02);
    await phone.close();
  });

  test('says what to do about a problem when it is asked', async () => {
    await broker.kill();
    await show('health');
    await page.locator('.problems summary').click({ timeout: 30_000 });
    await page.locator('.problem').filter({ hasText: 'Check that the broker runs' }).waitFor();
    await expectSoundPage(page, 'health-problem', async () => {
      await page.locator('.problem').first().waitFor();
    });
    await broker.restart();
    await page.locator('.problems summary').waitFor({ state: 'detached', timeout: 60_000 });
  });
});

describe('the health page', () => {
  test('tells of cameras and the broker in detail', async () => {
    await show('health?view=connections');
    const camera = page.getByRole('region', { name: 'Camera table' });
    await camera.getByText('1 mask').waitFor();
    await page.getByRole('region', { name: 'Broker' }).getByText('online', { exact: true }).waitFor();
  });

  test('shows the log from a level on', async () => {
    await show('health?view=log');
    await page.locator('.log li[data-level=info]').first().waitFor();
    await page.getByLabel('From level').selectOption('warn');
    await page.locator('.log li[data-level=warn]').first().waitFor();
    expect(await page.locator('.log li[data-level=info]').count()).toBe(0);
  });

  test('shows messages of the bus and which field of one misses the contract', async () => {
    const wrong = JSON.stringify({ question: 7, password: 'not for everybody' });
    await mosquittoTool('mosquitto_pub', broker, ['-t', topic('request/ask'), '-m', wrong]);
    await show('health?view=mqtt');
    await page.getByRole('button', { name: topic('request/ask') }).click({ timeout: 20_000 });
    const messages = page.getByRole('region', { name: `Messages of ${topic('request/ask')}` });
    await messages.locator('.misses').getByText('question').first().waitFor();
    expect(await messages.locator('pre').first().textContent()).not.toContain('not for everybody');
    await page.getByRole('button', { name: topic('health') }).click();
    await page
      .getByRole('region', { name: `Messages of ${topic('health')}` })
      .locator('.verdict.good')
      .first()
      .waitFor();
  });

  test('the command that it copies hears the topic', async () => {
    const messages = page.getByRole('region', { name: `Messages of ${topic('health')}` });
    await messages.getByRole('button', { name: 'Copy' }).click();
    await messages.getByText('Copied.').waitFor();
    const command = await page.evaluate(() => navigator.clipboard.readText());
    expect(command).toMatch(/^mosquitto_sub -h 127\.0\.0\.1 -p \d+ -t /);
    const { stdout } = await promisify(execFile)('sh', ['-c', `${command} -C 1 -W 20`]);
    expect(stdout).toContain(`${topic('health')} {`);
    expect(JSON.parse(stdout.slice(stdout.indexOf('{')))).toMatchObject({ device: deviceName });
  });

  test.each(VIEWS)('its view %s has no fault that axe finds, nor scrolls sideways', async (view) => {
    await expectSoundPage(page, `health-${view}`, async () => {
      await show(`health?view=${view}`);
      const first = { charts: '.chart', connections: '.connections .card', log: '.log li b', mqtt: '.messages pre' };
      await page.locator(first[view]).first().waitFor();
    });
    await expectKeyboardReach(page, view);
  });

  test('draws figures over a restart of the device, with its start and its throttlings', async () => {
    await show('health');
    const chart = page.locator('[data-figure="framesPerSecond table"]');
    await chart.waitFor();
    // The run before, and this one since its second sample.
    await expect.poll(() => chart.locator('.line').count(), { timeout: 60_000 }).toBe(2);
    expect(await chart.locator('line.restart').count()).toBe(1);
    expect(await chart.locator('line.throttled').count()).toBe(2);
    expect(await page.locator('[data-figure=cpuTemperatureCelsius] .line').count()).toBeGreaterThanOrEqual(1);
    expect(await page.locator('[data-figure=overCurrentThrottlings]').count()).toBe(1);
    await page.getByText('the board slowed itself down').first().waitFor();
    // A shorter time has no earlier run in it.
    await page.getByLabel('15 minutes').check();
    await expect.poll(() => page.locator('.chart line.throttled').count()).toBe(0);
  });

  test('a chart is read along by arrow keys as by the pointer', async () => {
    const chart = page.locator('[data-figure="framesPerSecond table"] svg');
    await chart.focus();
    const read = async (key: string) => {
      await page.keyboard.press(key);
      return [await chart.getAttribute('aria-valuenow'), await chart.getAttribute('aria-valuetext')];
    };
    const [newest, oldest] = [await read('End'), await read('Home')];
    expect(oldest[0]).toBe('0');
    expect(Number(newest[0])).toBeGreaterThan(0);
    expect(oldest[1]).toMatch(/^\d.*: [\d.]+/);
    expect((await read('ArrowRight'))[0]).toBe('1');
    expect((await read('ArrowLeft'))[0]).toBe('0');
  });
});

test('nothing was asked of other machines, and nothing failed in the page', () => {
  expect(faults.filter((fault) => !fault.includes('ERR_CONNECTION'))).toEqual([]);
});
