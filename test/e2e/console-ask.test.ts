/// <reference lib="dom" />
/** Asking, watching and looking back, in a real browser over the real service: demo model, sample clip, Mosquitto. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Locator, Page, Request } from 'playwright-core';
import { intersectionOverUnion, loadModel, openCamera, type VisionLanguageModel } from 'scenebus';
import type { WatchEvent } from 'scenebus/bus';
import { connect } from 'scenebus/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceService } from '#device/app/device-service.js';
import type { AskEvent } from '#device/console/api/ask-schemas.js';
import type { GroundedBox } from '#device/console/api/schemas.js';
import {
  borrow,
  clip,
  demoModel,
  deviceName,
  lend,
  makeConfig,
  startService,
} from '../integration/device/demo-device.js';
import { startMosquitto, type TestBroker } from '../support/brokers.js';
import {
  brightestPoint,
  expectSoundNow,
  expectSoundPage,
  launchBrowser,
  openPage,
  placeOf,
} from '../support/console-browser.js';
import { expectKeyboardReach } from '../support/keyboard-walk.js';
import { sentEvents } from '../support/sent-events.js';

let folder: string;
let broker: TestBroker;
let model: VisionLanguageModel;
let service: DeviceService;
let browser: Browser;
let address: string;
let context: BrowserContext;
let page: Page;
const faults: string[] = [];
/** Called after each piece of a text. */
let hold: () => Promise<unknown> = async () => {};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-console-ask-'));
  broker = await startMosquitto();
  model = await loadModel(demoModel, { cacheDirectory: join(folder, 'cache') });
  const config = await makeConfig({
    broker: { url: broker.url },
    cameras: [
      { id: 'table', address: clip, loop: true },
      { id: 'door', address: clip, loop: true, describe: false },
    ],
    console: { port: 0 },
    journal: { directory: join(folder, 'journal'), frames: true },
    describe: { minIntervalSeconds: 1 },
  });
  service = await startService(config, { parts: lend(pausing(model), { openCamera }) });
  address = service.consoleAddress ?? '';
  browser = await launchBrowser();
  context = await browser.newContext({ viewport: { width: 1_440, height: 900 } });
  await context.addInitScript(hearAnswers);
  page = await openPage(context, address, faults);
  page.setDefaultTimeout(60_000);
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

const show = (name: string) => page.goto(`${address}/#/${name}`);

/** The card of the question that was asked as this one, counted from the first; when it is done. */
async function asked(question: string, number: number): Promise<Locator> {
  // From the end: the newest stands first.
  const turn = page.locator('.turn').nth(-number);
  await page
    .locator('.turn[data-done=true]')
    .nth(number - 1)
    .waitFor();
  expect(await turn.locator('h2').textContent()).toBe(question);
  expect(await turn.locator('.failure').allTextContents()).toEqual([]);
  return turn;
}

async function ask(question: string): Promise<Locator> {
  const before = await page.locator('.turn').count();
  await page.getByRole('textbox', { name: 'Question' }).fill(question);
  await page.keyboard.press('Enter');
  return await asked(question, before + 1);
}

/** What the camera shows, brought to the page as a file of one's own. */
async function bring(mediaType: string, how: 'drop' | 'paste'): Promise<void> {
  await page.evaluate(
    async ([type, event]) => {
      const picture = await createImageBitmap(await (await fetch('/api/cameras/table/snapshot')).blob());
      const canvas = document.createElement('canvas');
      canvas.width = picture.width;
      canvas.height = picture.height;
      canvas.getContext('2d')!.drawImage(picture, 0, 0);
      const blob = await new Promise<Blob>((resolve) => canvas.toBlob((made) => resolve(made!), type));
      const clipboardData = new DataTransfer();
      clipboardData.items.add(new File([blob], 'picture', { type }));
      const target = document.querySelector('form.ask')!;
      const about = { bubbles: true, cancelable: true };
      if (event === 'drop') target.dispatchEvent(new DragEvent(event, { ...about, dataTransfer: clipboardData }));
      else target.dispatchEvent(new ClipboardEvent(event, { ...about, clipboardData }));
    },
    [mediaType, how] as const,
  );
}

async function isAboutOwnPicture(): Promise<void> {
  const chosen = page.getByRole('combobox', { name: 'About', exact: true }).locator('option:checked');
  await expect.poll(() => chosen.textContent(), { timeout: 20_000 }).toMatch(/^your picture/);
}

type Answer = Extract<AskEvent, { type: 'answer' }>;
interface Timed {
  readonly answer: Answer;
  /** As on the page, by its title. */
  readonly shown: Readonly<Record<string, number>>;
  /** From the key that asked until the page had it all. */
  readonly wallMs: number;
}

interface Hearing {
  /** All of the last answer, as it came over the wire. */
  heard: string | undefined;
}

/** Runs in the page before its own scripts. */
function hearAnswers(): void {
  const plain = window.fetch;
  window.fetch = async (...call) => {
    const response = await plain(...call);
    if (String(call[0]).endsWith('/api/ask'))
      void response
        .clone()
        .text()
        .then(
          (text) => {
            (window as unknown as Hearing).heard = text;
          },
          () => {},
        );
    return response;
  };
}

/** Asks, and tells both what the device answered and what the page made of it. */
async function timed(question: string): Promise<Timed> {
  await page.evaluate(() => {
    (window as unknown as Hearing).heard = undefined;
  });
  const began = performance.now();
  const turn = await ask(question);
  const wallMs = performance.now() - began;
  const heard = await page.waitForFunction(() => (window as unknown as Hearing).heard);
  const events = sentEvents((await heard.jsonValue())!);
  return { answer: events.at(-1)!.data as Answer, shown: await timingsOf(turn), wallMs };
}

async function timingsOf(part: Locator): Promise<Readonly<Record<string, number>>> {
  const pairs = await part
    .locator('.timings > div')
    .evaluateAll((all) => all.map((each) => [...each.children].map(({ textContent }) => textContent ?? '')));
  return Object.fromEntries(pairs.map(([title, value]) => [title, Number.parseFloat(value!)]));
}

function expectPlausible({ answer: { timings, usage }, shown, wallMs }: Timed): void {
  expect(shown).toEqual({
    waiting: Math.round(timings.queueMs!),
    picture: Math.round(timings.imageMs!),
    question: Math.round(timings.prefillMs!),
    answer: Math.round(timings.decodeMs!),
    'first token': Math.round(timings.timeToFirstTokenMs!),
    speed: Number(timings.tokensPerSecond!.toFixed(0)),
    tokens: usage.generatedTokens,
  });
  const { queueMs, imageMs, prefillMs, decodeMs, timeToFirstTokenMs, tokensPerSecond, totalMs } = timings;
  for (const part of [queueMs, imageMs]) expect(part).toBeGreaterThanOrEqual(0);
  for (const part of [prefillMs, decodeMs]) expect(part).toBeGreaterThan(0);
  // The picture and the question come before the first token, the answer after it; all within what a person waits.
  expect(timeToFirstTokenMs).toBeGreaterThanOrEqual(Math.max(imageMs!, prefillMs!));
  expect(queueMs! + timeToFirstTokenMs! + decodeMs!).toBeLessThanOrEqual(totalMs! + 1);
  expect(totalMs).toBeLessThanOrEqual(wallMs);
  expect(usage.generatedTokens).toBeGreaterThan(1);
  expect((tokensPerSecond! * decodeMs!) / 1_000).toBeCloseTo(usage.generatedTokens! - 1, 3);
}

/** Of the newest answer. */
const listed = () => page.locator('.turn').first().locator('.objects li').allInnerTexts();

function inWords({ label, score, source, verified }: GroundedBox): string {
  const check = verified === undefined ? '' : verified ? ', verified' : ', refuted';
  return `${label} score ${score.toFixed(2)}, from ${source}${check}`;
}

const choose = (name: string, option: string) => page.getByRole('combobox', { name, exact: true }).selectOption(option);

/** How well the box of this label over a picture fits what the clip shows at any time. */
async function bestOverlap(side: Locator, label: string): Promise<number> {
  const box = side.locator(`.box[data-label="${label}"]`).first();
  const shown = await placeOf(box);
  const truth = (await readFile(clip.replace('.mp4', '.jsonl'), 'utf8')).trim().split('\n');
  const overlaps = truth.flatMap((line) => {
    const { objects } = JSON.parse(line) as { objects: { label: string; box: [number, number, number, number] }[] };
    return objects
      .filter((object) => object.label === label)
      .map(({ box: [x1, y1, x2, y2] }) => intersectionOverUnion({ x1, y1, x2, y2 }, shown));
  });
  return Math.max(0, ...overlaps);
}

describe('asking', () => {
  test('by keyboard alone: a question, its boxes, another about the same frame', async () => {
    await show('ask');
    await page.getByRole('textbox', { name: 'Question' }).waitFor();
    await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
    const focus = async (wanted: string) => {
      for (let i = 0; i < 40; i++) {
        await page.keyboard.press('Tab');
        const now = await page.evaluate(() => {
          const { activeElement } = document;
          return activeElement instanceof HTMLInputElement ? activeElement.name : activeElement?.textContent;
        });
        if (now?.includes(wanted)) return;
      }
      throw new Error(`Tab does not reach ${wanted}.`);
    };
    await focus('question');
    await page.keyboard.type('Where is the red cup?');
    await page.keyboard.press('Enter');
    const first = await asked('Where is the red cup?', 1);
    expect(await bestOverlap(first, 'red cup')).toBeGreaterThan(0.6);
    expect(await first.locator('.answer').textContent()).not.toContain('{');
    await focus('Ask more about this frame');
    const followed = page.waitForRequest('**/api/ask');
    await page.keyboard.press('Enter');
    // The question has the focus again.
    await page.keyboard.press('Control+A');
    await page.keyboard.type('What else is there?');
    await page.keyboard.press('Enter');
    const body = bodyOf(await followed);
    expect(body).toMatchObject({ frame: { id: expect.any(String) }, turns: [{ question: 'Where is the red cup?' }] });
    const second = await asked('What else is there?', 2);
    expect(await second.locator('img').getAttribute('src')).toBe(await first.locator('img').getAttribute('src'));
    await second.getByText('question 2 about this frame').waitFor();
  });

  test('shows where the model looked for what it found, and for another thing', async () => {
    await show('ask');
    const turn = await ask('Where is the red cup?');
    await turn.getByText('Where does the model look?').click();
    await turn.getByRole('button', { name: 'red cup', exact: true }).click();
    const heat = turn.locator('img.heat');
    const { x, y } = await brightestPoint(heat);
    const box = await placeOf(turn.locator('.box[data-label="red cup"]').first());
    expect([x > box.x1 && x < box.x2, y > box.y1 && y < box.y2], JSON.stringify({ x, y, box })).toEqual([true, true]);
    await turn.getByText('sure that there is one').waitFor();
    await expectSoundNow(page, 'ask-heat-1440-light');
    await turn.getByRole('button', { name: 'Hide the map' }).click();
    expect(await heat.count()).toBe(0);
    await turn.getByLabel('Look for').fill('purple banana');
    await page.keyboard.press('Enter');
    await turn.getByText(/^Brighter: looked at more for purple banana; [0-4]?\d % sure/).waitFor();
  });

  test('the text comes in pieces before the answer is done', async () => {
    await show('ask');
    // The model waits with its second piece until the page has shown the first.
    const shown = page.waitForFunction(() => {
      const turn = document.querySelector<HTMLElement>('.turn');
      return turn?.dataset.done === 'false' && /\w/.test(turn.querySelector('.answer')?.textContent ?? '');
    });
    hold = () => shown;
    const turn = await ask('What is in the picture?');
    hold = async () => {};
    expect(await turn.locator('.answer').textContent()).toMatch(/\w \w/);
    await turn.getByText('first token').waitFor();
    await turn.getByText('tokens/s').waitFor();
  });

  test('tells where the time went: no part is longer than the whole, and speed is what tokens and time make', async () => {
    await show('ask');
    // A picture that nobody has asked about: a camera's newest may have been described already.
    await bring('image/png', 'drop');
    await isAboutOwnPicture();
    const first = await timed('Where is the red cup?');
    expectPlausible(first);
    // From then on what the model sees in it is in memory.
    const second = await timed('Where is the blue book?');
    expectPlausible(second);
    expect(second.answer.timings.imageMs).toBeLessThan(first.answer.timings.imageMs!);
    // A decision is not written: it has no first token and no speed.
    await choose('Answer', 'yes or no');
    const decided = await timed('Is there a red cup?');
    expect(Object.keys(decided.shown)).toEqual(['waiting', 'picture', 'question', 'answer']);
    await choose('Answer', 'in words');
  });

  test('says that a question waited for the one before it', async () => {
    await show('ask');
    await choose('About', 'table now');
    await choose('Compare with', 'door now');
    // Many tokens at each side: one model answers one after the other, or by turns.
    const sides = (await ask('List all objects with their boxes.')).locator('.side');
    const [one, two] = [await timingsOf(sides.nth(0)), await timingsOf(sides.nth(1))];
    expect(Math.max(one.waiting!, two.waiting!)).toBeGreaterThan(0);
    await choose('Compare with', 'nothing');
  });

  test('lists every object with its score, where its box is from, and what its cut-out was taken for', async () => {
    await show('ask');
    const plain = await timed('List all objects with their boxes.');
    expect(plain.answer.objects.length).toBeGreaterThan(0);
    expect(await listed()).toEqual(plain.answer.objects.map(inWords));
    expect(plain.answer.objects.map(({ verified }) => verified)).toEqual(plain.answer.objects.map(() => undefined));
    await page.getByRole('checkbox', { name: 'Check each box on its cut-out' }).check();
    const checked = await timed('List all objects with their boxes.');
    expect(checked.answer.objects.length).toBeGreaterThan(0);
    for (const { verified } of checked.answer.objects) expect(verified).toBeTypeOf('boolean');
    expect(await listed()).toEqual(checked.answer.objects.map(inWords));
    expect((await listed()).join()).toMatch(/verified|refuted/);
    await page.getByRole('checkbox', { name: 'Check each box on its cut-out' }).uncheck();
  });

  test('yes or no, one of a few and a number come with probabilities', async () => {
    await show('ask');
    await choose('Answer', 'yes or no');
    const yes = await ask('Is there a purple elephant?');
    expect(await yes.locator('.answer').textContent()).toMatch(/^no \d+ % sure$/);
    expect(await yes.locator('.options li').count()).toBe(2);
    await choose('Answer', 'one of a few');
    await page.getByRole('textbox', { name: /^Choices/ }).fill('red, blue');
    const choice = await ask('What colour is the cup?');
    expect(await choice.locator('.answer').textContent()).toMatch(/^(red|blue) \d+ % sure$/);
    expect(await choice.locator('.options li').count()).toBe(2);
    await choose('Answer', 'a number');
    const count = await ask('How many objects are there?');
    expect(await count.locator('.answer').textContent()).toMatch(/^\d+ \d+ % sure$/);
  });

  test('a JSON Schema is judged while it is typed, and the answer fits it', async () => {
    await show('ask');
    await choose('Answer', 'JSON');
    const schema = page.getByRole('textbox', { name: 'JSON Schema' });
    await schema.fill('{"type": "obj');
    await page.locator('.verdict[data-state=bad]').filter({ hasText: 'Not JSON yet' }).waitFor();
    expect(await page.getByRole('button', { name: 'Ask', exact: true }).isDisabled()).toBe(true);
    await schema.fill('{"type": "objekt"}');
    await page.locator('.verdict[data-state=bad]').filter({ hasText: 'objekt' }).waitFor();
    const properties = { cups: { type: 'integer', minimum: 0, maximum: 9 } };
    await schema.fill(JSON.stringify({ type: 'object', properties, required: ['cups'], additionalProperties: false }));
    await page.locator('.verdict[data-state=good]').waitFor();
    const turn = await ask('How many cups are there?');
    await turn.getByText('The answer fits the schema.').waitFor();
    const value = JSON.parse((await turn.locator('.json').textContent())!) as { cups: number };
    expect(Object.keys(value)).toEqual(['cups']);
    expect(value.cups).toBeGreaterThanOrEqual(0);
    expect(value.cups).toBeLessThanOrEqual(9);
  });

  test('a picture is dropped or pasted as JPEG, PNG and WebP; anything else is refused', async () => {
    await show('ask');
    for (const [type, how] of [
      ['image/jpeg', 'drop'],
      ['image/png', 'paste'],
      ['image/webp', 'drop'],
      ['image/gif', 'paste'],
    ] as const) {
      await bring(type, how);
      if (type === 'image/gif') {
        await page.getByRole('alert').filter({ hasText: 'Only JPEG, PNG and WebP' }).waitFor();
        continue;
      }
      await isAboutOwnPicture();
      const turn = await ask(`What is in the picture sent as ${type}?`);
      await expect.poll(() => turn.locator('img').getAttribute('src')).toContain('/api/frames/picture-');
      await choose('About', 'table now');
    }
  });

  test('the same question at two cameras, and at two frames, side by side', async () => {
    await show('ask');
    await choose('Answer', 'in words');
    await choose('About', 'table now');
    await choose('Compare with', 'door now');
    const cameras = await ask('List all objects with their boxes.');
    expect(await cameras.locator('.side').count()).toBe(2);
    const sources = await cameras.locator('img').evaluateAll((all) => all.map((image) => image.getAttribute('src')));
    expect(sources[0]).toContain('camera=table');
    expect(sources[1]).toContain('camera=door');
    for (const side of await cameras.locator('.side').all()) {
      const labels = await side
        .locator('.box')
        .evaluateAll((all) => all.map((each) => (each as HTMLElement).dataset.label!));
      const overlaps = await Promise.all(labels.map((label) => bestOverlap(side, label)));
      expect(Math.max(...overlaps)).toBeGreaterThan(0.5);
    }
    await cameras.locator('.side').first().getByRole('button', { name: 'Ask more about this frame' }).click();
    await choose('Compare with', 'table now');
    const frames = await ask('What is in the picture?');
    const two = await frames.locator('img').evaluateAll((all) => all.map((image) => image.getAttribute('src')));
    expect(two[0]).toBe(sources[0]);
    expect(two[1]).toContain('camera=table');
    expect(two[1]).not.toBe(two[0]);
    await expectKeyboardReach(page, 'ask-compared');
    await expectSoundNow(page, 'ask-compared-1440-light');
    await page.setViewportSize({ width: 390, height: 844 });
    await expectSoundNow(page, 'ask-compared-390-light');
    await page.setViewportSize({ width: 1_440, height: 900 });
  });

  test('a question of one’s own is kept', async () => {
    await show('ask');
    await page.getByRole('textbox', { name: 'Question' }).fill('Is the lamp yellow?');
    await page.getByRole('button', { name: 'Keep this question' }).click();
    await page.reload();
    await page.getByRole('button', { name: 'Is the lamp yellow?', exact: true }).click();
    await asked('Is the lamp yellow?', 1);
  });
});

describe('watches', () => {
  test('one is made of a question, tried, switched on, and fires', async () => {
    await using client = await connect({ url: broker.url });
    const events: WatchEvent[] = [];
    client.onEvent(deviceName, (event) => events.push(event));
    await show('ask');
    await choose('Answer', 'yes or no');
    await choose('About', 'table now');
    const turn = await ask('Is there a red cup?');
    await turn.getByRole('link', { name: 'Make a watch of this question' }).click();
    const form = page.getByRole('form', { name: 'New watch' });
    expect(await form.getByRole('textbox', { name: 'Question' }).inputValue()).toBe('Is there a red cup?');
    expect(await form.getByRole('combobox', { name: 'Answer' }).inputValue()).toBe('yes-no');
    expect(await form.getByRole('checkbox', { name: 'door' }).isChecked()).toBe(false);
    await form.getByRole('button', { name: 'Try on the picture of now' }).click();
    await form
      .locator('.now .answer')
      .filter({ hasText: /^(yes|no) \d+ % sure$/ })
      .waitFor();
    await form.getByRole('button', { name: 'Try on the last hour' }).click();
    const verdict = form.locator('.verdict');
    await verdict.waitFor();
    expect(Number(await verdict.getAttribute('data-fired'))).toBeGreaterThan(0);
    expect(await form.locator('.strip .track > span').count()).toBeGreaterThan(0);
    // Nothing was told to anybody, and nothing is on.
    expect(events).toEqual([]);
    await form.getByText('When it is asked, and what counts').click();
    await form.getByRole('button', { name: 'Look at a part only' }).click();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      for (const width of [1_440, 390]) {
        await page.setViewportSize({ width, height: 900 });
        await expectSoundNow(page, `watch-form-${width}-${colorScheme}`);
      }
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 1_440, height: 900 });
    await expectKeyboardReach(page, 'watch-form');
    await form.getByRole('button', { name: 'Corner 1' }).focus();
    await form.getByRole('button', { name: 'Add a corner' }).press('Enter');
    expect(await form.getByRole('button', { name: 'Corner 2: 50 % right, 25 % down' }).count()).toBe(1);
    await form.getByRole('button', { name: 'Corner 2' }).press('Delete');
    expect(await form.getByRole('button', { name: /^Corner \d/ }).count()).toBe(4);
    await form.getByRole('button', { name: 'Corner 1' }).focus();
    for (let i = 0; i < 13; i++) for (const key of ['ArrowLeft', 'ArrowUp']) await page.keyboard.press(key);
    expect(await form.getByRole('button', { name: 'Corner 1: 0 % right, 0 % down' }).count()).toBe(1);
    await form.getByRole('button', { name: 'Look at the whole picture' }).click();
    await form.getByRole('button', { name: 'Switch it on' }).click();
    const card = page.locator('.watch[data-watch=red-cup]');
    await card.locator('.standing[data-state=on]').filter({ hasText: 'yes' }).waitFor();
    await expect.poll(() => events.length, { timeout: 60_000 }).toBeGreaterThan(0);
    expect(events[0]).toMatchObject({ watch: 'red-cup', camera: 'table', type: 'new', value: true });
    // Its history is drawn, and the timeline has it with its picture and box.
    await card.locator('.strip .lasting').waitFor();
    await show('timeline');
    await page.locator('.event[data-kind=watch]').filter({ hasText: 'Is there a red cup?' }).first().waitFor();
  });

  test('it is edited, paused, gone on with, copied and removed', async () => {
    await show('watches');
    const card = page.locator('.watch[data-watch=red-cup]');
    await card.getByRole('button', { name: 'Edit' }).click();
    const form = page.getByRole('form', { name: 'Edit the watch red-cup' });
    await form.getByText('When it is asked, and what counts').click();
    await form.getByLabel('At least so sure, %').fill('80');
    await form.getByLabel('Answers that must agree').fill('3');
    await form.getByText('Answers that agree: 1 to 20').waitFor();
    await form.getByLabel('… of the last').fill('4');
    await form.getByRole('button', { name: 'Save' }).click();
    await card.getByText('3 of 4 answers agree · at least 80 % sure').waitFor();
    await card.getByRole('button', { name: 'Pause' }).click();
    await card.getByText('paused').waitFor();
    await card.getByRole('button', { name: 'Go on' }).click();
    await card.locator('.standing[data-state=on]').waitFor();
    await card.getByRole('button', { name: 'Copy' }).click();
    await page.getByRole('form', { name: 'New watch' }).getByRole('button', { name: 'Switch it on' }).click();
    const copy = page.locator('.watch[data-watch=red-cup-2]');
    await copy.getByRole('button', { name: 'Remove' }).click();
    await copy.getByRole('button', { name: 'Remove for good' }).click();
    await copy.waitFor({ state: 'detached' });
  });

  test('a display sees them, and changes nothing', async () => {
    const token = await page.evaluate(async () => {
      const { csrf } = (await (await fetch('/api/session')).json()) as { csrf: string };
      const headers = { 'content-type': 'application/json', 'x-scenebus-csrf': csrf };
      const body = JSON.stringify({ name: 'wall', role: 'display' });
      return ((await (await fetch('/api/tokens', { method: 'POST', headers, body })).json()) as { secret: string })
        .secret;
    });
    const wall = await browser.newContext();
    const other = await openPage(wall, address, faults);
    await other.goto(`${address}/#token=${token}`);
    await other.getByRole('heading', { name: 'Live' }).waitFor();
    await other.goto(`${address}/#/watches`);
    await other.locator('.watch[data-watch=red-cup] .standing').waitFor();
    expect(await other.getByRole('button', { name: /Edit|Pause|Remove|Copy|New watch/ }).count()).toBe(0);
    await other.goto(`${address}/#/ask`);
    await other.getByText('Asking needs the role operator').waitFor();
    expect(await other.getByRole('textbox', { name: 'Question' }).isDisabled()).toBe(true);
    await other.goto(`${address}/#/timeline`);
    await other.locator('.event').first().waitFor();
    expect(await other.getByRole('link', { name: /Export/ }).count()).toBe(0);
    await wall.close();
  });
});

describe('the timeline', () => {
  test('goes from an event to its frame, to what else happened then, and to a question about it', async () => {
    await show('timeline');
    await page.getByRole('searchbox').fill('"red cup"');
    await page.keyboard.press('Enter');
    const item = page.locator('.event[data-kind=answer]').filter({ hasText: 'Where is the red cup?' }).last();
    // By keyboard: in by Enter, out by Escape, back where one was.
    const dialog = page.getByRole('dialog');
    await item.getByRole('button').focus();
    await page.keyboard.press('Enter');
    await dialog.waitFor();
    await expectKeyboardReach(page, 'timeline-frame', 'dialog');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    expect(await item.getByRole('button').evaluate((button) => button === document.activeElement)).toBe(true);
    await page.keyboard.press('Enter');
    await dialog.locator('img').evaluate((image) => (image as HTMLImageElement).decode());
    const shown = await dialog.locator('img').getAttribute('src');
    await expectSoundNow(page, 'timeline-frame-1440-light');
    await page.setViewportSize({ width: 390, height: 844 });
    await expectSoundNow(page, 'timeline-frame-390-light');
    await page.setViewportSize({ width: 1_440, height: 900 });
    await dialog.getByRole('button', { name: 'Show what else happened then' }).click();
    await page.getByRole('button', { name: 'Any time' }).waitFor();
    await page.locator('.event[data-kind=scene]').first().waitFor();
    await page
      .locator('.event[data-kind=answer]')
      .filter({ hasText: 'Where is the red cup?' })
      .last()
      .getByRole('button')
      .click();
    await dialog.getByRole('link', { name: 'Ask about this frame' }).click();
    await page.getByRole('heading', { name: 'Ask', level: 1 }).waitFor();
    expect(await page.getByRole('textbox', { name: 'Question' }).inputValue()).toBe('Where is the red cup?');
    const turn = await ask('Where is the blue book?');
    const idOf = (source: string | null) => new URL(source!, address).pathname;
    expect(idOf(await turn.locator('img').getAttribute('src'))).toBe(idOf(shown));
  });

  test('exports what is filtered, as lines and as a data set', async () => {
    await show('timeline');
    await page.getByRole('searchbox').fill('cup');
    await page.keyboard.press('Enter');
    await page.locator('.event').first().waitFor();
    const lines = await downloaded('Export as JSON lines');
    const first = JSON.parse(lines.toString().split('\n')[0]!) as { kind: string; ts: string };
    expect(first).toMatchObject({ kind: expect.any(String), ts: expect.stringMatching(/Z$/) });
    const archive = (await downloaded('Export answers as a data set')).toString('latin1');
    expect(archive).toMatch(/^data-set\/images\//);
    expect(archive).toContain('"prompt":"Where is the red cup?"');
  });
});

test('no page of these has a fault that axe finds, nor scrolls sideways, with what is on them now', async () => {
  for (const name of ['Timeline', 'Watches']) {
    await expectSoundPage(page, `full-${name.toLowerCase()}`, async () => {
      await show(name.toLowerCase());
      await page.getByRole('heading', { name, level: 1 }).waitFor();
      await page
        .locator(name === 'Timeline' ? '.event' : '.watch .standing')
        .first()
        .waitFor();
    });
    await expectKeyboardReach(page, name);
  }
});

test('nothing was asked of other machines, and nothing failed in the page', () => {
  expect(faults).toEqual([]);
});

function pausing(of: VisionLanguageModel): VisionLanguageModel {
  return {
    ...borrow(of),
    generate(...call) {
      const stream = of.generate(...call);
      return {
        async *[Symbol.asyncIterator]() {
          for await (const text of stream) {
            yield text;
            await hold();
          }
        },
        collect: () => stream.collect(),
      };
    },
  };
}

function bodyOf(request: Request): unknown {
  return JSON.parse(request.postData() ?? 'null');
}

async function downloaded(link: string): Promise<Buffer> {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: link }).click()]);
  return await readFile(await download.path());
}
