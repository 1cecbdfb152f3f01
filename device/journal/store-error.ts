import type { ErrorCode } from 'scenebus';

/** An `SdkError` of the journal's thread, which loads nothing of the SDK: it would take a second and 50 MB more. */
export class StoreError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = 'StoreError';
    this.code = code;
  }
}
