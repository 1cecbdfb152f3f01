/** Requests of a client that wait for their answers. */
import { ERROR_CODES, type ErrorCode, SdkError } from '../../core/errors.js';
import type { OkResponse, Response } from '../contract/schemas/index.js';

interface Pending {
  /** undefined: any. */
  readonly device: string | undefined;
  readonly verb: string;
  /** A request that is sent again gets another id, because the device answers each id once. */
  readonly ids: Set<string>;
  readonly settle: (result: OkResponse | Error) => void;
  readonly onText: ((text: string) => void) | undefined;
  readonly onAccepted: ((device: string) => void) | undefined;
  readonly onRefused: ((error: SdkError, device: string) => boolean) | undefined;
  /** The id that the pieces came with so far, and how many. */
  pieces: { readonly id: string; count: number } | undefined;
}

export interface WaitOptions {
  /** Only this one may answer. undefined: any device. */
  readonly device: string | undefined;
  readonly verb: string;
  readonly onText?: ((text: string) => void) | undefined;
  /** A device of a group says that it will answer. */
  readonly onAccepted?: ((device: string) => void) | undefined;
  /** A device answers with an error. Returns true when the wait goes on: another one is asked. */
  readonly onRefused?: ((error: SdkError, device: string) => boolean) | undefined;
  /** Ends the wait with its reason. */
  readonly signal: AbortSignal;
}

export class PendingRequests {
  readonly #pending = new Map<string, Pending>();

  get size(): number {
    return new Set(this.#pending.values()).size;
  }

  /** Waits for the ok response to `id`. @throws the device's SdkError; `signal.reason`. */
  wait(id: string, { device, verb, onText, onAccepted, onRefused, signal }: WaitOptions): Promise<OkResponse> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const ids = new Set([id]);
      const finish = (): void => {
        for (const known of ids) this.#pending.delete(known);
        signal.removeEventListener('abort', onAbort);
      };
      const settle = (result: OkResponse | Error): void => {
        finish();
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const onAbort = (): void => {
        finish();
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, { device, verb, ids, settle, onText, onAccepted, onRefused, pieces: undefined });
    });
  }

  /** An answer to `other` counts as one to `id`. */
  alsoKnownAs(id: string, other: string): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    pending.ids.add(other);
    this.#pending.set(other, pending);
  }

  /** Gives an answer to whoever waits for it. False: nobody does (any more). */
  answer(id: string | undefined, response: Response): boolean {
    const pending = id === undefined ? undefined : this.#pending.get(id);
    // The device must be the one that was asked.
    if (id === undefined || pending === undefined) return false;
    if (pending.device !== undefined && pending.device !== response.device) return false;
    if (response.status === 'accepted') {
      pending.onAccepted?.(response.device);
      return true;
    }
    if (response.status === 'partial') return takePiece(pending, id, response.data);
    if (response.status === 'ok' && response.verb !== pending.verb) return false;
    if (response.status === 'ok') pending.settle(response);
    else {
      const error = errorOf(response);
      if (pending.onRefused?.(error, response.device) !== true) pending.settle(error);
    }
    return true;
  }

  failDevice(device: string, error: SdkError): void {
    for (const pending of new Set(this.#pending.values())) if (pending.device === device) pending.settle(error);
  }

  failAll(error: SdkError): void {
    for (const pending of new Set(this.#pending.values())) pending.settle(error);
  }
}

/** Pieces of one attempt, each once and without a gap. */
function takePiece(
  pending: Pending,
  id: string,
  { index, text }: { readonly index: number; readonly text: string },
): boolean {
  pending.pieces ??= { id, count: 0 };
  if (pending.pieces.id !== id || pending.pieces.count !== index) return false;
  pending.pieces.count += 1;
  pending.onText?.(text);
  return true;
}

/** A newer device may use codes that this version does not know; the original stays in the details. */
function errorOf(response: Extract<Response, { status: 'error' }>): SdkError {
  const { code, message, retryable, retryAfterMs } = response.error;
  const known = Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'ERR_INTERNAL';
  const details = { device: response.device, code, retryable, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  return new SdkError(known, message, { details });
}
