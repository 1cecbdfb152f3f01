/// <reference lib="dom" />
/** The console in a real browser, over the real service: demo model, sample clip, Mosquitto. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { intersectionOverUnion, loadModel, openCamera, type VisionLanguageModel } from 'scenebus';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceService } from '#device/app/device-service.js';
import { clip, demoModel, lend, makeConfig, startService } from '../integration/device/demo-device.js';
import { startMosquitto, type TestBroker } from '../support/brokers.js';
import {
  expectSoundPage,
  expectStillPage,
  launchBrowser,
  movingParts,
  openPage,
  PHONE,
  placeOf,
} from '../support/console-browser.js';
import { writeEarlierRun } from '../support/earlier-run.js';
import { expectKeyboardReach } from '../support/keyboard-walk.js';

const PAGES = ['live', 'ask', 'timeline', 'watches', 'health', 'device'] as const;

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
  });
  await writeEarlierRun(config);
  service = await startService(config, { parts: lend(model, { openCamera }) });
  address = service.consoleAddress ?? '';
  browser = await launchBrowser();
  context = await browser.newContext({ viewport: { width: 1_440, height: 900 } });
  page = await openPage(context, address, faults);
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await service?.stop();
  await model?.[Symbol.asyncDispose]();
  await broker?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

const show = (name: (typeof PAGES)[number]) => page.goto(`${address}/#/${name}`);

/** With what is on it when everything has come. */
async function ready(name: (typeof PAGES)[number]): Promise<void> {
  await page.getByRole('heading', { name, exact: false, level: 1 }).waitFor();
  if (name === 'live') await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frame !== undefined);
  if (name === 'health') await page.locator('.chart').first().waitFor();
  if (name === 'timeline') await page.locator('.event').first().waitFor();
}

describe('the console', () => {
  test('the one-time link lets this browser in and leaves no token in the address', async () => {
    await page.goto(service.makeConsoleLink()!);
    await page.getByRole('heading', { name: 'Live' }).waitFor();
    expect(page.url()).not.toContain('token');
  });

  test('shows a moving picture, the lamps, and the description over its own frame', async () => {
    const canvas = page.locator('canvas');
    await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frame !== undefined);
    const first = await canvas.getAttribute('data-frame');
    await page.waitForFunction((id) => document.querySelector('canvas')?.dataset.frame !== id, first);
    // Not one colour only: there is something in it.
    const colours = await canvas.evaluate((element) => {
      const { width, height } = element as HTMLCanvasElement;
      const pixels = (element as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height).data;
      return new Set(Array.from({ length: 200 }, (_, i) => pixels.at(i * 4 * Math.floor(pixels.length / 800)))).size;
    });
    expect(colours).toBeGreaterThan(5);
    for (const lamp of ['camera', 'model', 'broker'])
      await page.locator(`[data-lamp=${lamp}][data-state=good]`).waitFor();
    await page.locator('.description').filter({ hasText: /\w/ }).waitFor();
    await page.locator('figure .box').first().waitFor();
  });

  test('answers with a box on the right object of the frame that was asked about', async () => {
    await show('ask');
    const question = page.getByRole('textbox', { name: 'Question' });
    // By keyboard only: type, Enter.
    await question.focus();
    await page.keyboard.type('Where is the red cup?');
    await page.keyboard.press('Enter');
    const turn = page.locator('.turn[data-done=true]').first();
    await turn.waitFor();
    expect(await turn.locator('.failure').count()).toBe(0);
    const box = turn.locator('.box[data-label="red cup"]').first();
    const style = await placeOf(box);
    const seen = (await turn.locator('img').getAttribute('src')) ?? '';
    const truth = (await readFile(clip.replace('.mp4', '.jsonl'), 'utf8')).trim().split('\n');
    const boxes = truth.flatMap((line) => {
      const { objects } = JSON.parse(line) as { objects: { label: string; box: [number, number, number, number] }[] };
      return objects
        .filter(({ label }) => label === 'red cup')
        .map(({ box: [x1, y1, x2, y2] }) => ({ x1, y1, x2, y2 }));
    });
    expect(seen).toContain('/api/frames/');
    expect(Math.max(...boxes.map((each) => intersectionOverUnion(each, style)))).toBeGreaterThan(0.6);
    await turn.getByText('tokens/s').waitFor();
    // The picture is that frame, and a second question is about it too.
    await turn.locator('img').evaluate((image) => (image as HTMLImageElement).decode());
    await turn.getByRole('button', { name: 'Ask more about this frame' }).click();
    await question.fill('How many objects are there?');
    await page.keyboard.press('Enter');
    await expect.poll(() => page.locator('.turn[data-done=true]').count(), { timeout: 20_000 }).toBe(2);
    expect(await page.locator('.turn').first().locator('img').getAttribute('src')).toBe(seen);
  });

  test('the timeline finds the answer again, with its picture', async () => {
    await show('timeline');
    await page.getByRole('searchbox').fill('"red cup"');
    await page.keyboard.press('Enter');
    const found = page.locator('.event[data-kind=answer]').filter({ hasText: 'Where is the red cup?' }).first();
    await found.locator('img').waitFor();
    await found.locator('img').evaluate((image) => (image as HTMLImageElement).decode());
  });

  test.each(PAGES)('every control of the page %s is reached by keyboard, and shows that it is', async (name) => {
    await show(name);
    await ready(name);
    await expectKeyboardReach(page, name);
  });

  test('Enter goes to a page, and skips to what is on it', async () => {
    await show('live');
    await ready('live');
    await page.getByRole('link', { name: 'Timeline' }).focus();
    await page.keyboard.press('Enter');
    await ready('timeline');
    await page.locator('.skip').focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.closest('main') !== null)).toBe(true);
    expect(page.url()).toContain('#/timeline');
  });

  test('nothing moves by itself for those who want that', async () => {
    // That there is something to be seen by those who do not mind.
    await show('live');
    await ready('live');
    expect(await movingParts(page)).not.toEqual([]);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    for (const name of PAGES) {
      await show(name);
      await ready(name);
      expect(await movingParts(page), name).toEqual([]);
    }
    await page.emulateMedia({ reducedMotion: null });
  });

  test.each(PAGES)('the page %s has no fault that axe finds, nor scrolls sideways', async (name) => {
    await expectSoundPage(page, name, async () => {
      await show(name);
      await ready(name);
    });
  });

  test.each(PAGES)('the page %s keeps still while it loads', async (name) => {
    await expectStillPage(page, name, async () => {
      await show(name);
      await page.reload();
      await ready(name);
    });
  });

  test('on a phone the newest events are on the first screen, and the filters unfold', async () => {
    await page.setViewportSize(PHONE);
    await show('timeline');
    await page.reload();
    await ready('timeline');
    expect((await page.locator('.event').first().boundingBox())!.y).toBeLessThan(PHONE.height / 2);
    expect(await page.getByLabel('From').isVisible()).toBe(false);
    await page.getByText('Time, kinds and export').press('Enter');
    await page.getByLabel('From').waitFor();
    await page.setViewportSize({ width: 1_440, height: 900 });
  });

  test('a capture process that is killed turns the lamp, and turns it back', async () => {
    await show('live');
    await page.locator('[data-lamp=camera][data-state=good]').waitFor();
    // Watching before anything dies: under load a lamp can be back before somebody who comes late looks at it.
    await page.evaluate(() => {
      const lamp = document.querySelector<HTMLElement>('[data-lamp=camera]')!;
      const states: string[] = [];
      (window as unknown as { states: string[] }).states = states;
      new MutationObserver(() => {
        const state = lamp.dataset.state!;
        if (states.at(-1) !== state) states.push(state);
      }).observe(lamp, { attributes: true });
    });
    for (const pid of await captureProcesses()) process.kill(pid, 'SIGKILL');
    const changes = () => page.evaluate(() => (window as unknown as { states: string[] }).states);
    await expect.poll(changes, { timeout: 30_000 }).toEqual(['bad', 'good']);
  });

  test('nothing is sent to a page that is hidden, and it goes on when it is seen again', async () => {
    await show('device');
    const opens = page.waitForEvent('websocket', (socket) => socket.url().endsWith('/live'));
    await show('live');
    const socket = await opens;
    await socket.waitForEvent('framereceived');
    const closes = socket.waitForEvent('close');
    // A headless browser hides no page: told as a browser tells it.
    const tell = (isHidden: boolean) =>
      page.evaluate((value) => {
        Object.defineProperty(document, 'hidden', { value, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, isHidden);
    await tell(true);
    await closes;
    const opensAgain = page.waitForEvent('websocket', (next) => next.url().endsWith('/live'));
    await tell(false);
    await (await opensAgain).waitForEvent('framereceived');
    await page.evaluate(() => Reflect.deleteProperty(document, 'hidden'));
  });

  test('a wrong password is refused and said', async () => {
    await page.evaluate(async () => {
      const { csrf } = (await (await fetch('/api/session')).json()) as { csrf: string };
      const headers = { 'content-type': 'application/json', 'x-scenebus-csrf': csrf };
      const body = JSON.stringify({ password: 'correct horse' });
      await fetch('/api/passwords/operator', { method: 'PUT', headers, body });
    });
    await using stranger = {
      context: await browser.newContext(),
      [Symbol.asyncDispose]: () => stranger.context.close(),
    };
    const other = await stranger.context.newPage();
    await other.goto(address);
    await other.getByLabel('Password').fill('wrong');
    await other.keyboard.press('Enter');
    await other.getByRole('alert').filter({ hasText: 'The password is wrong.' }).waitFor();
    await other.getByLabel('Password').fill('correct horse');
    await other.keyboard.press('Enter');
    await other.getByRole('heading', { name: 'Live' }).waitFor();
  });

  test('nothing was asked of other machines, and nothing failed in the page', () => {
    expect(faults).toEqual([]);
  });

  test('the page is small', async () => {
    const { gzipSync } = await import('node:zlib');
    const assets = join(import.meta.dirname, '../../dist/device/console/page/assets');
    const scripts = (await readdir(assets)).filter((name) => name.endsWith('.js'));
    let bytes = 0;
    for (const name of scripts) bytes += gzipSync(await readFile(join(assets, name))).length;
    expect(bytes).toBeLessThan(150_000);
  });
});

/** Children of this process that run the capture host. */
async function captureProcesses(): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    const command = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    if (parent === process.pid && /capture/.test(command)) found.push(Number(entry));
  }
  expect(found.length).toBeGreaterThan(0);
  return found;
}
