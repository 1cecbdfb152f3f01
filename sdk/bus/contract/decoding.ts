/** Bytes of a payload to a value, and what is wrong with it in words. Pure functions on untrusted input. */
import type { z } from 'zod';

const ISSUES_SHOWN = 5;

export type Decoded = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: string };

export function decodeRequest(payload: Uint8Array): Decoded {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    return { ok: false, problem: 'Expected JSON in UTF-8, but the bytes are not UTF-8' };
  }
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    const why = error instanceof Error ? error.message.slice(0, 120) : 'unknown';
    return { ok: false, problem: `Expected JSON, but received something else (${why})` };
  }
}

/** The first few problems of a payload in one line, paths included. */
export function describeIssues(error: z.ZodError): string {
  const lines = error.issues.slice(0, ISSUES_SHOWN).map((issue) => {
    const path = issue.path.map(String).join('.').slice(0, 120);
    return `${path === '' ? 'payload' : path}: ${issue.message.slice(0, 200)}`;
  });
  const more = error.issues.length - lines.length;
  return lines.join('; ') + (more > 0 ? `; and ${more} more` : '');
}
