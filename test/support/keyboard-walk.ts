/// <reference lib="dom" />
/** Walks a page by keyboard alone, and looks for what somebody without a mouse would not get at. */
import type { Page } from 'playwright-core';
import { expect } from 'vitest';

/** What takes a mouse and no key, where there is another way by keyboard. */
const POINTER_ONLY = [
  // Corners are buttons that arrow keys move; "Add a mask" and "Add a corner" stand beside them.
  '.masks',
  '.region-picture svg',
  // Beside a dialog: Escape and its own button close it too.
  'dialog',
];
const MAX_STOPS = 400;

interface Walk {
  /** What could have the focus when the walk began, apart from what was there no longer when it ended. */
  readonly missed: readonly string[];
  /** Reached, but nothing shows it. */
  readonly unseen: readonly string[];
  /** Something hears a click on it, and nothing in or around it can have the focus. */
  readonly pointerOnly: readonly string[];
  readonly stops: number;
}

/** @param from the walk begins at its first control; default: the whole page */
export async function expectKeyboardReach(page: Page, name: string, from = 'body'): Promise<void> {
  const { missed, unseen, pointerOnly, stops } = await walk(page, from);
  expect({ missed, unseen, pointerOnly }, `${name}: ${stops} stops`).toEqual({
    missed: [],
    unseen: [],
    pointerOnly: [],
  });
  expect(stops, name).toBeGreaterThan(1);
}

async function walk(page: Page, from: string): Promise<Walk> {
  await page.evaluate(begin, from);
  let stops = 0;
  for (; stops < MAX_STOPS; stops++) {
    const { isOver, radios } = await page.evaluate(arrive);
    if (isOver) break;
    // A group of choices is one stop; arrow keys go through it.
    for (let i = 1; i < radios; i++) {
      await page.keyboard.press('ArrowDown');
      await page.evaluate(arrive);
    }
    await page.keyboard.press('Tab');
  }
  const seen = await page.evaluate(end);
  return { ...seen, pointerOnly: await pointerOnly(page), stops };
}

interface Walking {
  readonly expected: ReadonlySet<HTMLElement>;
  readonly reached: Set<Element>;
  readonly unseen: string[];
  last: Element | null;
}
type WithWalk = typeof globalThis & { keyboardWalk: Walking };

function begin(from: string): void {
  const controls = [
    ...document
      .querySelector(from)!
      .querySelectorAll<HTMLElement>(
        'a[href], button, input, select, textarea, summary, audio[controls], video[controls], [tabindex], [contenteditable], [role=button], [role=link], [role=slider], [role=checkbox]',
      ),
  ].filter(
    (each) =>
      each.checkVisibility({ visibilityProperty: true }) &&
      !each.matches(':disabled, [tabindex="-1"], [inert], [inert] *'),
  );
  (globalThis as WithWalk).keyboardWalk = { expected: new Set(controls), reached: new Set(), unseen: [], last: null };
  controls[0]?.focus({ focusVisible: true } as FocusOptions);
}

function arrive(): { readonly isOver: boolean; readonly radios: number } {
  const walking = (globalThis as WithWalk).keyboardWalk;
  const { reached, unseen, last } = walking;
  const now = document.activeElement as HTMLElement | null;
  // A field of a date has a stop for each of its parts.
  if (now !== null && now === last && now.matches('[type=datetime-local], [type=time], [type=date]'))
    return { isOver: false, radios: 0 };
  walking.last = now;
  if (now === null || now === document.body || reached.has(now)) return { isOver: true, radios: 0 };
  reached.add(now);
  // A control whose own look is hidden shows the focus on what stands for it.
  const shown = getComputedStyle(now).opacity === '0' ? (now.nextElementSibling ?? now) : now;
  const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(shown);
  const isMarked = outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 2 && !/, 0\)$/.test(outlineColor);
  const { left, top, right, bottom } = shown.getBoundingClientRect();
  const [x, y] = [
    (Math.max(0, left) + Math.min(innerWidth, right)) / 2,
    (Math.max(0, top) + Math.min(innerHeight, bottom)) / 2,
  ];
  const onTop = document.elementFromPoint(x, y);
  const isUncovered =
    onTop !== null && (shown.contains(onTop) || onTop.contains(shown) || onTop.closest('label')?.contains(shown));
  if (!isMarked || !isUncovered)
    unseen.push(
      `${isMarked ? `covered by ${onTop?.outerHTML.slice(0, 60)}` : 'no outline'}: ${now.outerHTML.slice(0, 90)}`,
    );
  const { name, type, form } = now as HTMLInputElement;
  const radios =
    type === 'radio' && name !== ''
      ? document.querySelectorAll<HTMLInputElement>(`input[type=radio][name="${CSS.escape(name)}"]`)
      : [];
  return { isOver: false, radios: [...radios].filter((each) => each.form === form && !each.disabled).length };
}

function end(): { readonly missed: string[]; readonly unseen: string[] } {
  const { expected, reached, unseen } = (globalThis as WithWalk).keyboardWalk;
  const missed = [...expected].filter(
    (each) => each.isConnected && each.checkVisibility() && !each.matches(':disabled') && !reached.has(each),
  );
  return { missed: missed.map((each) => each.outerHTML.slice(0, 120)), unseen };
}

/** Listeners are known to the debugger only. */
async function pointerOnly(page: Page): Promise<string[]> {
  const session = await page.context().newCDPSession(page);
  try {
    const expression = `(${findPointerOnly})(getEventListeners, ${JSON.stringify(POINTER_ONLY)})`;
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', {
      expression,
      includeCommandLineAPI: true,
      returnByValue: true,
    });
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value as string[];
  } finally {
    await session.detach();
  }
}

function findPointerOnly(
  listenersOf: (element: Element) => Readonly<Record<string, unknown>>,
  allowed: readonly string[],
): string[] {
  const pointer = [
    'click',
    'dblclick',
    'mousedown',
    'pointerdown',
    'pointermove',
    'mouseover',
    'mouseenter',
    'touchstart',
  ];
  const focusable = 'a[href], button, input, select, textarea, summary, label, [tabindex="0"]';
  return [...document.body.querySelectorAll('*')]
    .filter((each) => Object.keys(listenersOf(each)).some((type) => pointer.includes(type)))
    .filter((each) => each.closest(focusable) === null && !allowed.some((selector) => each.matches(selector)))
    .map((each) => each.outerHTML.slice(0, 120));
}
