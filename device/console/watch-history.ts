/** How a watch stood over time, read off the events that the journal has kept. */
import type { Journal } from '../journal/journal.js';
import type { JournalEvent } from '../journal/query.js';
import type { WatchFound, WatchHistory, WatchSpan } from './api/watch-schemas.js';

/** The newest so many are read. */
const MAX_EVENTS = 2_000;
const TOLD_EVENTS = 24;
const PAGE = 500;

interface Period {
  readonly fromMs: number;
  readonly toMs: number;
}

/** @throws SdkError ERR_JOURNAL_UNAVAILABLE */
export async function readHistory(
  journal: Pick<Journal, 'query'>,
  watch: string,
  cameras: readonly string[],
  period: Period,
): Promise<WatchHistory> {
  const { fromMs, toMs } = period;
  // The id is among the words that an event is found by; whether it is this watch's, the event says.
  const about = { kinds: ['watch'], text: `"${watch}"` } as const;
  const found: WatchFound[] = [];
  let cursor: string | null = null;
  let read = 0;
  do {
    const page: { readonly events: readonly JournalEvent[]; readonly cursor: string | null } = await journal.query({
      ...about,
      from: fromMs,
      to: toMs,
      limit: PAGE,
      cursor: cursor ?? undefined,
    });
    found.push(...page.events.flatMap((event) => foundOf(event, watch)));
    read += page.events.length;
    cursor = page.cursor;
  } while (cursor !== null && read < MAX_EVENTS);
  const isWhole = cursor === null;
  const before = isWhole
    ? (await journal.query({ ...about, to: fromMs, limit: PAGE })).events.flatMap((event) => foundOf(event, watch))
    : [];
  return {
    fromMs,
    toMs,
    isWhole,
    cameras: cameras.map((camera) => {
      const at = (events: readonly WatchFound[]) => events.filter((event) => event.camera === camera);
      return { camera, spans: spansOf([...at(before).slice(0, 1), ...at(found).toReversed()], period) };
    }),
    events: found.slice(0, TOLD_EVENTS),
  };
}

/**
 * The state from each event to the next.
 * @param events of one camera, oldest first; the first may be from before the period
 */
export function spansOf(events: readonly WatchFound[], { fromMs, toMs }: Period): WatchSpan[] {
  const spans: WatchSpan[] = [];
  const until = (endMs: number): void => {
    const last = spans.at(-1);
    if (last !== undefined) spans[spans.length - 1] = { ...last, toMs: endMs };
  };
  const unknown = { value: null, probability: null, isLasting: false };
  spans.push({ fromMs, toMs, ...unknown });
  let lasting: WatchFound['value'] | undefined;
  for (const { atMs, type, value, probability } of events) {
    const startMs = Math.max(fromMs, atMs);
    until(startMs);
    // An end with the value that it had: the watch was paused or its camera went, nobody looked any more.
    const isLeft = type === 'end' && value === lasting;
    spans.push({ fromMs: startMs, toMs, ...(isLeft ? unknown : { value, probability, isLasting: type !== 'end' }) });
    lasting = type === 'end' ? undefined : value;
  }
  return spans.filter((span) => span.toMs > span.fromMs);
}

function foundOf({ id, run, atMs, camera, frame, body }: JournalEvent, watch: string): WatchFound[] {
  const { watch: own, type, value, probability } = body as unknown as WatchFound & { readonly watch: string };
  if (own !== watch || camera === null) return [];
  return [{ id, run, atMs, camera, type, value, probability, frame: frame && { ...frame } }];
}
