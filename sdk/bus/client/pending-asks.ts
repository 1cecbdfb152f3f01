/** Questions of a client that wait for their answers. */
import { ERROR_CODES, type ErrorCode, SdkError } from '../../core/errors.js';
import type { OkResponse, Response } from '../contract/schemas/index.js';

interface PendingAsk {
  readonly device: string;
  readonly settle: (result: OkResponse | Error) => void;
}

export class PendingAsks {
  readonly #pending = new Map<string, PendingAsk>();

  get size(): number {
    return this.#pending.size;
  }

  /** Waits for the answer to `id`; `signal` ends the wait with its reason. */
  wait(id: string, device: string, signal: AbortSignal): Promise<OkResponse> {
    return new Promise((resolve, reject) => {
      const settle = (result: OkResponse | Error): void => {
        if (!this.#pending.delete(id)) return;
        signal.removeEventListener('abort', onAbort);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const onAbort = (): void => {
        this.#pending.delete(id);
        reject(signal.reason);
      };
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      signal.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, { device, settle });
    });
  }

  /** Gives an answer to whoever waits for it. False: nobody does (any more). */
  answer(id: string | undefined, response: Response): boolean {
    const pending = id === undefined ? undefined : this.#pending.get(id);
    // The device must be the one that was asked.
    if (pending === undefined || pending.device !== response.device) return false;
    pending.settle(response.status === 'ok' ? response : errorOf(response));
    return true;
  }

  failDevice(device: string, error: SdkError): void {
    for (const pending of [...this.#pending.values()]) if (pending.device === device) pending.settle(error);
  }

  failAll(error: SdkError): void {
    for (const pending of [...this.#pending.values()]) pending.settle(error);
  }
}

/** A newer device may use codes that this version does not know; the original stays in the details. */
function errorOf(response: Extract<Response, { status: 'error' }>): SdkError {
  const { code, message, retryable } = response.error;
  const known = Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'ERR_ENGINE_FAILED';
  return new SdkError(known, message, { details: { device: response.device, code, retryable } });
}
