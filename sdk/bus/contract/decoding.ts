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

type ReadResult<T> =
  | { readonly success: true; readonly data: T }
  | { readonly success: false; readonly error: z.ZodError };

/**
 * A payload of another program, which may be newer: fields that this version does not know are left out instead of
 * making the whole unreadable. Everything else must fit.
 */
export function readPayload<T>(schema: z.ZodType<T>, value: unknown): ReadResult<T> {
  const strict = schema.safeParse(value);
  if (strict.success) return strict;
  const known = structuredClone(value);
  for (const issue of strict.error.issues) {
    const parent = issue.code === 'unrecognized_keys' ? at(known, issue.path) : undefined;
    if (issue.code !== 'unrecognized_keys' || parent === undefined) return strict;
    for (const key of issue.keys) delete parent[key];
  }
  const again = schema.safeParse(known);
  return again.success ? again : strict;
}

function at(value: unknown, path: readonly PropertyKey[]): Record<PropertyKey, unknown> | undefined {
  let node = value;
  for (const key of path) {
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, key)) return undefined;
    node = (node as Record<PropertyKey, unknown>)[key];
  }
  return typeof node === 'object' && node !== null ? (node as Record<PropertyKey, unknown>) : undefined;
}
