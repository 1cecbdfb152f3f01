/** Stops a stream of MQTT packets at the first one that is too long, before its body is held in memory. */
import { Transform, type TransformCallback } from 'node:stream';
import { SdkError } from '../../core/errors.js';

/**
 * Passes bytes through unchanged and follows the packet boundaries: one type byte, then the remaining length in up to
 * four bytes of seven bits each, lowest first [MQTT 3.1.1 §2.2.3]. Aedes has no such limit of its own.
 */
export class PacketGuard extends Transform {
  readonly #maxPacketBytes: number;
  /** Body bytes of the current packet still to come; undefined inside a header. */
  #bodyLeft: number | undefined;
  #headerBytes = 0;
  #remainingLength = 0;

  constructor(maxPacketBytes: number) {
    super();
    this.#maxPacketBytes = maxPacketBytes;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#bodyLeft !== undefined && this.#bodyLeft > 0) {
        const taken = Math.min(this.#bodyLeft, chunk.length - offset);
        this.#bodyLeft -= taken;
        offset += taken;
        continue;
      }
      this.#bodyLeft = undefined;
      const problem = this.#header(chunk[offset] ?? 0);
      offset += 1;
      if (problem !== undefined) {
        done(problem);
        return;
      }
    }
    done(null, chunk);
  }

  #header(byte: number): SdkError | undefined {
    this.#headerBytes += 1;
    if (this.#headerBytes === 1) {
      this.#remainingLength = 0;
      return undefined;
    }
    if (this.#headerBytes > 5)
      return new SdkError('ERR_LIMIT_EXCEEDED', 'Expected an MQTT packet, but its length is malformed.');
    this.#remainingLength += (byte & 0x7f) * 128 ** (this.#headerBytes - 2);
    // The whole packet counts, its header too: what brokers of MQTT 5 mean by their maximum packet size.
    if (this.#headerBytes + this.#remainingLength > this.#maxPacketBytes) {
      return new SdkError(
        'ERR_LIMIT_EXCEEDED',
        `Expected an MQTT packet of at most ${this.#maxPacketBytes} bytes, but one of ${this.#headerBytes + this.#remainingLength} or more began.`,
      );
    }
    if ((byte & 0x80) === 0) {
      this.#bodyLeft = this.#remainingLength;
      this.#headerBytes = 0;
    }
    return undefined;
  }
}
