/** What can be asked of a journal. */
import type { FrameReference } from '../events/events.js';
import type { StoredKind } from './record.js';

export interface JournalQuery {
  readonly kinds?: readonly StoredKind[] | undefined;
  readonly camera?: string | undefined;
  /** Unix time, milliseconds: not before. */
  readonly from?: number | undefined;
  /** Unix time, milliseconds: before. */
  readonly to?: number | undefined;
  /** Words that all occur, in any order; "several in quotation marks" occur together; `cup*` begins a word. */
  readonly text?: string | undefined;
  /** About this frame. */
  readonly frameId?: string | undefined;
  /** 1–1000. Default 100. */
  readonly limit?: number | undefined;
  /** Where the last page ended. */
  readonly cursor?: string | undefined;
  /** Default `newest-first`. */
  readonly order?: 'newest-first' | 'oldest-first' | undefined;
}

export interface JournalEvent {
  readonly id: string;
  /** Which start of the device it belongs to; with it a frame's id is unique. */
  readonly run: string;
  readonly kind: StoredKind;
  /** Unix time, milliseconds. */
  readonly atMs: number;
  readonly camera: string | null;
  readonly frame: FrameReference | null;
  /** As it was emitted, without pixels; see `EventBodies`. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface JournalPage {
  readonly events: readonly JournalEvent[];
  /** For the next page; null: this was the last. */
  readonly cursor: string | null;
}

export interface JournalFrame {
  readonly id: string;
  readonly run: string;
  readonly camera: string | null;
  /** Unix time of capture, milliseconds. */
  readonly atMs: number;
  readonly width: number;
  readonly height: number;
  /** The file. */
  readonly jpeg: Uint8Array;
}

/** Which pictures, without their files. */
export interface PictureQuery {
  readonly camera: string;
  /** Unix time, milliseconds: captured not before. */
  readonly from: number;
  /** Unix time, milliseconds: captured before. */
  readonly to: number;
  /** 1–5000: the newest so many. */
  readonly limit: number;
}

export type JournalPicture = Omit<JournalFrame, 'jpeg'>;

/** Descriptions that may be of what is looked for. */
export interface SceneSearch {
  /** Words, of which any may occur. */
  readonly text: string;
  readonly camera?: string | undefined;
  /** Unix time, milliseconds: not before. */
  readonly from?: number | undefined;
  /** Unix time, milliseconds: before. */
  readonly to?: number | undefined;
  /** 1–1000. */
  readonly limit: number;
}

export interface FoundScene {
  readonly event: JournalEvent;
  /** How well its words fit, more is better (BM25); null: it has none of them, and is there because it is new. */
  readonly wordScore: number | null;
  /** Its picture is in the journal. */
  readonly isKept: boolean;
}

/** Part of an event's id before the last hyphen (see `EventHub`). */
export function runOf(eventId: string): string {
  return eventId.slice(0, Math.max(0, eventId.lastIndexOf('-')));
}

/**
 * What people type as an expression of FTS5, in which quotation marks make every word harmless
 * (https://www.sqlite.org/fts5.html#fts5_strings). null: nothing to look for.
 * @param joinedBy a space: all of them occur; ` OR `: any
 */
export function matchExpression(text: string, joinedBy: ' ' | ' OR ' = ' '): string | null {
  const terms = [...text.matchAll(/"([^"]*)"|(\S+)/g)].flatMap(([, phrase, word]) => {
    const term = phrase ?? word ?? '';
    const isPrefix = phrase === undefined && term.length > 1 && term.endsWith('*');
    const plain = (isPrefix ? term.slice(0, -1) : term).replaceAll('"', '');
    // A term without a letter or digit has no token and would match nothing.
    if (!/[\p{L}\p{N}]/u.test(plain)) return [];
    return [`"${plain}"${isPrefix ? '*' : ''}`];
  });
  return terms.length === 0 ? null : terms.join(joinedBy);
}
