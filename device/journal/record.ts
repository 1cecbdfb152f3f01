/** An event as the journal keeps it: plain data that crosses a thread and a restart. */
import type { AnyDeviceEvent, EventKind, FrameReference } from '../events/events.js';

/** Kinds that are kept. States of watches and settings, health and info are of the moment; of frames the picture is kept, not the event. */
export type StoredKind = Exclude<EventKind, 'frame' | 'watchState' | 'watches' | 'setting' | 'health' | 'info'>;

export const STORED_KINDS = ['scene', 'answer', 'watch', 'status', 'problem'] as const satisfies readonly StoredKind[];

export interface EventRecord {
  /** Stable: the event's own. */
  readonly id: string;
  readonly kind: StoredKind;
  /** Unix time, milliseconds. */
  readonly atMs: number;
  readonly camera: string | null;
  readonly frame: FrameReference | null;
  /** What full-text search finds it by; null: by nothing. */
  readonly text: string | null;
  /** JSON. */
  readonly body: string;
}

/** A record that has its place in the order of all events. */
export interface StoredEvent extends EventRecord {
  readonly seq: number;
}

function isStoredKind(kind: EventKind): kind is StoredKind {
  return (STORED_KINDS as readonly EventKind[]).includes(kind);
}

/** undefined: an event of a kind that is not kept. */
export function toRecord(event: AnyDeviceEvent): EventRecord | undefined {
  if (!isStoredKind(event.kind)) return undefined;
  const { id, kind, atMs, camera = null, frame = null } = event;
  return { id, kind, atMs, camera, frame, text: textOf(event), body: JSON.stringify(bodyOf(event)) };
}

/** Bytes that a record takes, roughly: for bounds. */
export function sizeOf({ body, text }: EventRecord): number {
  return 200 + body.length + (text?.length ?? 0);
}

function textOf(event: AnyDeviceEvent): string | null {
  switch (event.kind) {
    case 'scene':
      return said(null, event.body.answer);
    case 'answer':
      return event.body.answer === null ? event.body.question : said(event.body.question, event.body.answer);
    case 'watch':
      return said(`${event.body.watch}\n${event.body.question}\n${event.body.value}`, event.body.evidence);
    case 'problem':
      return event.body.problem === null ? null : joined([event.body.part, event.body.problem.message]);
    default:
      return null;
  }
}

/** The event's body without pixels: a scene names its frame, which a camera gives with all of its pixels. */
function bodyOf(event: AnyDeviceEvent): object {
  if (event.kind !== 'scene' && event.kind !== 'watch') return event.body;
  const { frame: _frame, ...body } = event.body;
  return body;
}

function said(
  before: string | null,
  { text, objects }: { readonly text?: string | undefined; readonly objects: readonly { readonly label: string }[] },
): string {
  return joined([before, text, ...objects.map(({ label }) => label)]);
}

function joined(parts: readonly (string | null | undefined)[]): string {
  return parts.filter((part) => part).join('\n');
}
