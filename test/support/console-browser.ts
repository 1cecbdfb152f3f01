/// <reference lib="dom" />
/** A browser in front of the console: what every page must be free of is looked for in one place. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core';
import { expect } from 'vitest';

const LAUNCH = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** Kept only where somebody wants to look at them. */
const SCREENSHOTS = process.env.SCENEBUS_SCREENSHOTS;
export const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1_440, height: 900 };

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: LAUNCH });
}

/** A page whose errors and foreign requests become faults. */
export async function openPage(context: BrowserContext, address: string, faults: string[]): Promise<Page> {
  const opened = await context.newPage();
  opened.on('console', (message) => {
    if (message.type() === 'error') faults.push(`${message.text()} ${message.location().url}`);
  });
  opened.on('pageerror', (error) => faults.push(String(error)));
  opened.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith(`blob:${address}`)) faults.push(`foreign request: ${url}`);
  });
  return opened;
}

/** Web Vitals call a page still below this: https://web.dev/articles/cls. */
const STILL = 0.1;

/** Loaded anew at both sizes: what is there already stays where it is while the rest comes. */
export async function expectStillPage(page: Page, name: string, load: () => Promise<unknown>): Promise<void> {
  for (const size of [PHONE, DESKTOP]) {
    await page.setViewportSize(size);
    await load();
    const moved = await page.evaluate(
      () =>
        new Promise<{ value: number; nodes: string[] }[]>((resolve) => {
          const seen: { value: number; nodes: string[] }[] = [];
          type Shift = PerformanceEntry & { value: number; hadRecentInput: boolean; sources: { node: Node | null }[] };
          const observer = new PerformanceObserver((list) => {
            for (const { value, hadRecentInput, sources } of list.getEntries() as Shift[])
              if (!hadRecentInput)
                seen.push({
                  value,
                  nodes: sources.map(({ node }) => (node as Element | null)?.outerHTML?.slice(0, 90) ?? ''),
                });
          });
          observer.observe({ type: 'layout-shift', buffered: true });
          // What was buffered arrives as a task of its own.
          setTimeout(() => resolve(seen), 300);
        }),
    );
    const sum = moved.reduce((total, { value }) => total + value, 0);
    expect(sum, `${name} at ${size.width}: ${JSON.stringify(moved)}`).toBeLessThan(STILL);
  }
}

/** Hears from now on what moves on a page that nobody touches; tells it when it is asked. */
export async function followShifts(
  page: Page,
): Promise<() => Promise<{ readonly sum: number; readonly nodes: string[] }>> {
  await page.evaluate(() => {
    type Shift = PerformanceEntry & { value: number; sources: { node: Node | null }[] };
    const seen = { sum: 0, nodes: [] as string[] };
    (globalThis as unknown as { shifts: typeof seen }).shifts = seen;
    new PerformanceObserver((list) => {
      for (const { value, sources } of list.getEntries() as Shift[]) {
        seen.sum += value;
        seen.nodes.push(...sources.map(({ node }) => (node as Element | null)?.outerHTML?.slice(0, 90) ?? ''));
      }
    }).observe({ type: 'layout-shift' });
  });
  return async () =>
    await page.evaluate(async () => {
      // What has just been painted is told by a task of its own.
      await new Promise((resolve) => setTimeout(resolve, 300));
      return (globalThis as unknown as { shifts: { sum: number; nodes: string[] } }).shifts;
    });
}

/** Where a heat map over a picture is brightest, as a fraction of its width and height. */
export async function brightestPoint(heat: Locator): Promise<{ x: number; y: number }> {
  return await heat.evaluate(async (element) => {
    const image = element as HTMLImageElement;
    await image.decode();
    const canvas = document.createElement('canvas');
    const { naturalWidth: width, naturalHeight: height } = image;
    Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d')!;
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    let [top, at] = [-1, 0];
    for (let index = 0; index < width * height; index++) {
      const level = data[4 * index]! + data[4 * index + 1]! + data[4 * index + 2]!;
      if (level > top) [top, at] = [level, index];
    }
    return { x: (at % width) / width, y: Math.floor(at / width) / height };
  });
}

/** Of a box over a picture, as fractions of the picture. */
export async function placeOf(box: Locator): Promise<{ x1: number; y1: number; x2: number; y2: number }> {
  return await box.evaluate((element) => {
    const of = (name: 'left' | 'top' | 'width' | 'height') =>
      Number.parseFloat((element as HTMLElement).style[name]) / 100;
    return { x1: of('left'), y1: of('top'), x2: of('left') + of('width'), y2: of('top') + of('height') };
  });
}

/**
 * As it is on a phone and on a desk, in light and in dark: nothing that axe finds, nothing that scrolls sideways.
 * @param prepare shows the page, once: sizes and colours change below it, as when somebody turns a phone
 */
export async function expectSoundPage(page: Page, name: string, prepare: () => Promise<unknown>): Promise<void> {
  await page.setViewportSize(DESKTOP);
  await prepare();
  for (const size of [DESKTOP, PHONE]) {
    await page.setViewportSize(size);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await expectSoundNow(page, `${name}-${size.width}-${colorScheme}`);
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(DESKTOP);
}

/** What runs by itself or would when it is touched: animations, transitions, scrolling that glides. */
export async function movingParts(page: Page): Promise<string[]> {
  await page.locator('nav a:not([aria-current])').first().hover();
  return await page.evaluate(() => {
    const seconds = (text: string) => Math.max(...text.split(',').map((each) => Number.parseFloat(each)));
    const styled = [...document.querySelectorAll('*')].flatMap((element) =>
      [undefined, '::before', '::after'].flatMap((pseudo) => {
        const style = getComputedStyle(element, pseudo);
        const moves =
          style.animationName !== 'none' ||
          seconds(style.transitionDuration) + seconds(style.transitionDelay) > 0 ||
          style.scrollBehavior === 'smooth';
        return moves ? [`${element.outerHTML.slice(0, 80)}${pseudo ?? ''}`] : [];
      }),
    );
    const running = document.getAnimations().map((each) => `running: ${each.constructor.name}`);
    return [
      ...styled,
      ...running,
      ...[...document.querySelectorAll('marquee, animate')].map(({ outerHTML }) => outerHTML),
    ];
  });
}

/** @param name of the picture that is kept where SCENEBUS_SCREENSHOTS names a folder */
export async function expectSoundNow(page: Page, name: string): Promise<void> {
  const wide = await page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    const all = [...document.querySelectorAll('main *, header *')];
    return all
      .filter((each) => each.getBoundingClientRect().right > innerWidth)
      .map((each) => each.outerHTML.slice(0, 90));
  });
  expect(wide, name).toEqual([]);
  // A colour in the middle of its transition has a contrast that nobody is left with.
  await page.evaluate(async () => {
    const finite = document.getAnimations().filter((each) => each.effect?.getTiming().iterations !== Infinity);
    await Promise.allSettled(finite.map((each) => each.finished));
  });
  // The page's own policy lets no text become a script: axe goes in by the debugger.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    const { axe } = window as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    return (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
  });
  expect(violations, name).toEqual([]);
  if (SCREENSHOTS === undefined) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
}
