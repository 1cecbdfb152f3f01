/// <reference lib="dom" />
/** The parts of the page Device in a real browser: set-up, settings, privacy masks, diagnostics. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { loadModel, openCamera, parseCameraInfo, type VisionLanguageModel } from 'scenebus';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { drawBoard, parseBoard } from '#calibration/camera/index.js';
import type { DeviceService } from '#device/app/device-service.js';
import { ConfigFileStore } from '#device/config/editing/config-store.js';
import { loadConfig } from '#device/config/load.js';
import { clip, demoModel, lend, startService } from '../integration/device/demo-device.js';
import { startMosquitto, type TestBroker } from '../support/brokers.js';
import { expectSoundNow, expectSoundPage, launchBrowser, openPage } from '../support/console-browser.js';
import { expectKeyboardReach } from '../support/keyboard-walk.js';
import { BoardRenderer, LENS, POSES } from '../support/rendered-boards.js';

const PARTS = ['overview', 'setup', 'settings', 'masks', 'calibration', 'access'] as const;
/** Of what masks cover. */
const GREY = 128;

let folder: string;
let file: string;
let broker: TestBroker;
let model: VisionLanguageModel;
let service: DeviceService;
let browser: Browser;
let context: BrowserContext;
let page: Page;
let address: string;
const faults: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-console-device-'));
  broker = await startMosquitto();
  file = join(folder, 'config.yaml');
  await writeFile(
    file,
    `# The kiosk in the hall.
version: 1
device: hall
model: { directory: ${demoModel} }
cameras:
  - id: table   # above the desk
    address: ${clip}
    loop: true
    describe: false
  - { id: bench, address: boards, loop: true, fps: 4, describe: false }
broker: { url: "${broker.url}", username: hall }
console: { port: 0 }
journal: { directory: journal }
healthIntervalSeconds: 1
`,
  );
  await drawBoards(join(folder, 'boards'));
  model = await loadModel(demoModel, { cacheDirectory: join(folder, 'cache') });
  service = await startService(await loadConfig(file, {}), {
    parts: lend(model, { openCamera }),
    configSource: { store: new ConfigFileStore(file), environment: {} },
  });
  address = service.consoleAddress ?? '';
  browser = await launchBrowser();
  context = await browser.newContext({ viewport: { width: 1_440, height: 900 } });
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

/** A printed board, held to every part of the picture of a lens that is known. */
async function drawBoards(target: string): Promise<void> {
  await mkdir(target);
  const { data, info } = await sharp(await drawBoard(parseBoard('charuco:7x5'), 41))
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const picture = { width: info.width, height: info.height, grey: new Uint8Array(data), squarePixels: 48 };
  const renderer = new BoardRenderer(LENS);
  for (const [index, pose] of POSES.entries()) {
    const { width, height, data: pixels } = renderer.render(picture, pose);
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(join(target, `${index}.png`));
  }
}

const show = (part: (typeof PARTS)[number]) => page.goto(`${address}/#/device?part=${part}`);

/** What the camera shows now: RGB, row by row. */
async function snapshot() {
  const bytes = await page.evaluate(async () => {
    const response = await fetch('/api/cameras/table/snapshot');
    return response.ok ? [...new Uint8Array(await response.arrayBuffer())] : [];
  });
  if (bytes.length === 0) return undefined;
  const { data, info } = await sharp(Buffer.from(bytes)).raw().toBuffer({ resolveWithObject: true });
  const at = (x: number, y: number): number[] => {
    const offset = 3 * (Math.floor(y * info.height) * info.width + Math.floor(x * info.width));
    return [...data.subarray(offset, offset + 3)];
  };
  return { width: info.width, height: info.height, at };
}
/** JPEG does not keep a grey to the last level. */
const isGrey = (pixel: readonly number[] | undefined): boolean =>
  pixel?.every((level) => Math.abs(level - GREY) <= 3) === true;

describe('the set-up', () => {
  test('is offered while something is open, is left and resumed, and tries every step for real', async () => {
    await page.getByRole('link', { name: 'Go on with the set-up' }).click();
    const step = (id: string, done: boolean) => page.locator(`[data-step=${id}][data-done=${done}]`);
    await step('model', false).click();
    await page.getByRole('button', { name: 'Try it now' }).click();
    await page.getByText('The model answered in').waitFor();
    await page.getByRole('button', { name: 'Go on later' }).click();
    await page.getByRole('heading', { name: 'Live' }).waitFor();
    expect(await page.getByRole('link', { name: 'Go on with the set-up' }).count()).toBe(0);
    // Another day, another tab.
    await show('setup');
    await page.reload();
    await step('model', true).waitFor();
    await step('camera', true).click();
    await page.locator('.thumbnails img').first().waitFor();
    await page
      .locator('.thumbnails img')
      .first()
      .evaluate((image) => (image as HTMLImageElement).decode());
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('Camera table delivers pictures of 640 × 480.').waitFor();
    await step('broker', false).click();
    await page.getByRole('button', { name: 'Try it now' }).click();
    await page.getByText(/A request went over the broker .* and back in \d+ ms/).waitFor();
    await page.getByRole('button', { name: 'Next: First question' }).click();
    await page.getByRole('button', { name: 'Ask', exact: true }).click();
    await page.getByText('This device is set up.').waitFor();
    expect((await page.locator('.answer').textContent())?.length).toBeGreaterThan(5);
    await page.goto(`${address}/#/live`);
    await page.getByRole('heading', { name: 'Live' }).waitFor();
    expect(await page.locator('.setup-banner').count()).toBe(0);
  }, 60_000);
});

describe('the settings', () => {
  test('a change is checked, shown as lines of the file, saved with the comments kept, and holds at once', async () => {
    const before = await readFile(file, 'utf8');
    await show('settings');
    const rotation = page.getByLabel('Rotation, degrees clockwise').first();
    await page.getByRole('heading', { name: 'Cameras' }).click();
    await page.locator('.camera-settings > summary').first().click();
    await rotation.selectOption('90');
    const rate = page.getByLabel('Frames a second').first();
    await rate.fill('999');
    await page.getByText('Expected 240 or less.').waitFor();
    expect(await page.getByRole('button', { name: 'Review the changes' }).isDisabled()).toBe(true);
    await rate.fill('');
    await page.getByRole('button', { name: 'Review the changes' }).click();
    await page.locator('.diff .added').filter({ hasText: 'rotation: 90' }).waitFor();
    await page.getByText('Holds at once:').waitFor();
    expect(await readFile(file, 'utf8')).toBe(before);
    await page.getByRole('button', { name: 'Save and apply' }).click();
    await page.getByText('It holds now: cameras.table.rotation.').waitFor();
    const text = await readFile(file, 'utf8');
    expect(text).toBe(before.replace('    describe: false\n', '    describe: false\n    rotation: 90\n'));
    await expect.poll(async () => (await snapshot())?.width, { timeout: 20_000 }).toBe(480);
  }, 60_000);

  test('and is undone by one click', async () => {
    await page.getByRole('button', { name: 'Undo the last change' }).click();
    await page.getByText('The last change is undone.').waitFor();
    expect(await readFile(file, 'utf8')).not.toContain('rotation');
    await expect.poll(async () => (await snapshot())?.width, { timeout: 20_000 }).toBe(640);
  }, 60_000);

  test('of a file that was changed by hand meanwhile is refused', async () => {
    await page.reload();
    await page.getByLabel('Log level').selectOption('warn');
    await page.getByRole('button', { name: 'Review the changes' }).click();
    await page.locator('.diff .added').filter({ hasText: 'log: warn' }).waitFor();
    const byHand = `${await readFile(file, 'utf8')}# by hand\n`;
    await writeFile(file, byHand);
    await page.getByRole('button', { name: 'Save and apply' }).click();
    await page.getByRole('alert').filter({ hasText: 'was changed meanwhile' }).waitFor();
    expect(await readFile(file, 'utf8')).toBe(byHand);
    // The refusal is an answer that browsers write down as an error.
    expect(faults.splice(0)).toEqual([expect.stringContaining('409')]);
  });

  test('says what may not be changed and why, and asks for no secret back', async () => {
    await page.reload();
    await page.getByText('The device keeps its journal and passwords under its name.').first().waitFor();
    const secrets = page.getByRole('region', { name: 'Secrets' });
    await secrets.getByText('Password for the broker').waitFor();
    expect(
      await secrets.locator('input').evaluateAll((inputs) => inputs.map((each) => (each as HTMLInputElement).value)),
    ).toEqual(['']);
  });
});

test('the password of the broker is replaced, and does not come back to the page', async () => {
  await show('settings');
  await page.reload();
  const secrets = page.getByRole('region', { name: 'Secrets' });
  await secrets.getByLabel('Another one').fill('kept from sight');
  await secrets.getByRole('button', { name: 'Replace' }).click();
  await page.getByText('The secret is replaced.').waitFor();
  const name = /passwordFile: (broker-password-[0-9a-f]{8})/.exec(await readFile(file, 'utf8'))?.[1];
  expect(await readFile(join(folder, name!), 'utf8')).toBe('kept from sight\n');
  expect(await secrets.getByLabel('Another one').inputValue()).toBe('');
  expect(await page.content()).not.toContain('kept from sight');
}, 60_000);

describe('privacy masks', () => {
  test('drawn by keyboard, cover the picture from the next one on', async () => {
    await show('masks');
    await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frame !== undefined);
    expect(isGrey((await snapshot())?.at(0.5, 0.5))).toBe(false);
    await page.getByRole('button', { name: 'Add a mask' }).focus();
    await page.keyboard.press('Enter');
    const corner = page.getByRole('button', { name: 'Mask 1, corner 1:' });
    await expect.poll(() => corner.evaluate((element) => element === document.activeElement)).toBe(true);
    for (let i = 0; i < 4; i++) await page.keyboard.press('Shift+ArrowLeft');
    await page.keyboard.press('ArrowUp');
    expect(await corner.getAttribute('aria-label')).toBe('Mask 1, corner 1: 20 % from the left, 39 % from the top');
    await page.getByRole('button', { name: 'Save and apply' }).focus();
    await page.keyboard.press('Enter');
    await page.getByText('It holds now: cameras.table.masks.').waitFor();
    expect(await readFile(file, 'utf8')).toContain(
      'masks: [ [ [ 0.2, 0.39 ], [ 0.6, 0.4 ], [ 0.6, 0.6 ], [ 0.4, 0.6 ] ] ]',
    );
    await expect.poll(async () => isGrey((await snapshot())?.at(0.5, 0.5)), { timeout: 20_000 }).toBe(true);
    const seen = await snapshot();
    expect(isGrey(seen?.at(0.3, 0.43))).toBe(true);
    // Left of the slanted edge nothing is covered.
    expect(isGrey(seen?.at(0.15, 0.5))).toBe(false);
    expect(isGrey(seen?.at(0.5, 0.9))).toBe(false);
  }, 60_000);

  test('are drawn and moved by mouse, and taken away again', async () => {
    await page.getByRole('button', { name: 'Draw corner by corner' }).click();
    const area = (await page.locator('.masks').boundingBox())!;
    const at = (x: number, y: number) => [area.x + x * area.width, area.y + y * area.height] as const;
    for (const [x, y] of [
      [0.1, 0.1],
      [0.3, 0.1],
      [0.2, 0.3],
    ] as const)
      await page.mouse.click(...at(x, y));
    await page.getByRole('button', { name: 'Close the mask' }).click();
    await page.mouse.move(...at(0.2, 0.3));
    await page.mouse.down();
    await page.mouse.move(...at(0.25, 0.35), { steps: 3 });
    await page.mouse.up();
    const moved = await page.getByRole('button', { name: 'Mask 2, corner 3:' }).getAttribute('aria-label');
    expect(moved).toMatch(/2[45] % from the left, 3[45] % from the top/);
    await page.getByRole('button', { name: 'Remove the mask' }).click();
    await page.getByRole('button', { name: 'Mask 1, corner 2:' }).focus();
    await page.getByRole('button', { name: 'Remove the mask' }).click();
    await page.getByRole('button', { name: 'Save and apply' }).click();
    await page.getByText('It holds now: cameras.table.masks.').waitFor();
    expect(await readFile(file, 'utf8')).not.toContain('masks');
    await expect.poll(async () => isGrey((await snapshot())?.at(0.5, 0.5)), { timeout: 20_000 }).toBe(false);
  }, 60_000);
});

test('a board that is held before a camera is followed live, and the lens of the camera comes out', async () => {
  await show('calibration');
  await page.getByRole('combobox', { name: 'Camera' }).selectOption('bench');
  const board = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download the board' }).click();
  expect((await sharp(await readFile(await (await board).path())).metadata()).format).toBe('png');
  await page.getByRole('button', { name: 'Start' }).click();
  const compute = page.getByRole('button', { name: 'Compute the lens' });
  expect(await compute.isDisabled()).toBe(true);
  await page.locator('.calibration .point').first().waitFor({ timeout: 30_000 });
  await expect
    .poll(async () => Number(await page.locator('[data-views]').getAttribute('data-views')), { timeout: 60_000 })
    .toBeGreaterThanOrEqual(8);
  expect(await page.locator('.calibration rect.seen').count()).toBeGreaterThan(12);
  await page.getByText(/Not taken: \d+ like another/).waitFor({ timeout: 30_000 });
  await expectSoundNow(page, 'device-calibrating-1440-light');
  await compute.click();
  const report = page.getByRole('region', { name: 'Result' });
  await report.getByText('Focal length').waitFor();
  await expectSoundNow(page, 'device-calibrated-1440-light');
  const file = page.waitForEvent('download');
  await report.getByRole('link', { name: 'Download the calibration' }).click();
  const lens = parseCameraInfo(await readFile(await (await file).path(), 'utf8'));
  expect(Math.abs(lens.fx / LENS.fx - 1)).toBeLessThan(0.02);
  expect(lens.accuracy?.rms).toBeLessThan(0.5);
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Start' }).waitFor();
}, 120_000);

test('the overview tells versions, model and licences, and hands out the diagnostics bundle', async () => {
  await page.goto(`${address}/#/device`);
  await page.getByRole('region', { name: 'Versions' }).getByText('scenebus', { exact: true }).waitFor();
  await page.getByText('SceneBus: NOTICE').click();
  await page.getByText('Copyright © Meta Platforms').first().waitFor();
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download the diagnostics bundle' }).click();
  const bundle = await download;
  expect(bundle.suggestedFilename()).toMatch(/^scenebus-hall-.*\.zip$/);
  expect((await readFile(await bundle.path())).subarray(0, 2).toString()).toBe('PK');
  await page.getByRole('button', { name: 'Look at the machine' }).click();
  await page.locator('.findings li').filter({ hasText: 'Node' }).first().waitFor();
}, 60_000);

test('no part has a fault that axe finds, scrolls sideways, or keeps a control from the keyboard', async () => {
  for (const part of PARTS) {
    await expectSoundPage(page, `device-${part}`, async () => {
      await show(part);
      await page.reload();
      await page.locator('.parts a[aria-current=page]').waitFor();
      await page.locator('main .card').first().waitFor();
      if (part === 'settings') await page.getByRole('heading', { name: 'Cameras' }).click();
      if (part !== 'masks') return;
      await page.getByRole('button', { name: 'Add a mask' }).click();
      await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frame !== undefined);
    });
    await expectKeyboardReach(page, part);
  }
}, 120_000);

test('nothing was asked of other machines, and nothing failed in the page', () => {
  expect(faults).toEqual([]);
});
