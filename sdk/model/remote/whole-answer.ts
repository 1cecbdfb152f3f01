/** What of an answer is made here: boxes in pixels of the picture as it was, counts, times as they are seen from here. */
import type { GroundedObject } from '../../core/types.js';
import { boxToPixels, clampBox } from '../../geometry/box.js';
import type { ModelImage, Timings, Usage } from '../types.js';
import type { ChunkObject } from './chunks.js';
import type { RemoteAnswer } from './reading.js';

/** In pixels of the picture as it was here: the server saw a smaller one. */
export function objectOf(object: ChunkObject, { width, height }: ModelImage): GroundedObject[] {
  const box = clampBox(object.box);
  if (box === undefined) return [];
  const { label, score, source, verified, peak } = object;
  const more = { ...(verified === undefined ? {} : { verified }), ...(peak === undefined ? {} : { peak }) };
  return [{ label, box, boxPixels: boxToPixels(box, width, height), score, source, ...more }];
}

/** What a server does not tell is 0. */
export function usageOf({ usage }: RemoteAnswer, { images }: { readonly images: readonly ModelImage[] }): Usage {
  return {
    promptTokens: usage?.prompt_tokens ?? 0,
    reusedTokens: usage?.prompt_tokens_details?.cached_tokens ?? 0,
    generatedTokens: usage?.completion_tokens ?? 0,
    draftedTokens: 0,
    acceptedTokens: 0,
    images: images.length,
    reusedImages: 0,
    preemptions: 0,
  };
}

/** As they are seen from here: what the server does before the first token cannot be told apart. */
export function timingsOf(
  { usage, firstTextMs }: RemoteAnswer,
  { startedMs, sentMs, endedMs }: { startedMs: number; sentMs: number; endedMs: number },
): Timings {
  const exchangeMs = endedMs - sentMs;
  const timeToFirstTokenMs = firstTextMs ?? exchangeMs;
  const decodeMs = Math.max(0, exchangeMs - timeToFirstTokenMs);
  const count = usage?.completion_tokens ?? 0;
  return {
    queueMs: sentMs - startedMs,
    imageMs: 0,
    prefillMs: timeToFirstTokenMs,
    timeToFirstTokenMs,
    decodeMs,
    engineCalls: 0,
    tokensPerSecond: count > 1 ? ((count - 1) * 1_000) / Math.max(decodeMs, 1e-3) : 0,
    totalMs: endedMs - startedMs,
  };
}
