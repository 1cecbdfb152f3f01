/**
 * Writes the protocol buffer wire format: as much of it as ONNX needs (varint, 32-bit, length-delimited fields).
 * Encoding is append-only; a nested message is encoded first and then written as bytes.
 */
const WIRE_VARINT = 0;
const WIRE_BYTES = 2;
const WIRE_FIXED32 = 5;

const utf8 = new TextEncoder();

export class MessageWriter {
  readonly #parts: Uint8Array[] = [];
  #sizeBytes = 0;

  /** Negative values take ten bytes, as `int32` and `int64` fields require. */
  varint(field: number, value: number | bigint): this {
    this.#tag(field, WIRE_VARINT);
    this.#push(encodeVarint(BigInt(value)));
    return this;
  }

  float(field: number, value: number): this {
    this.#tag(field, WIRE_FIXED32);
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    this.#push(bytes);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.#tag(field, WIRE_BYTES);
    this.#push(encodeVarint(BigInt(value.byteLength)));
    this.#push(value);
    return this;
  }

  string(field: number, value: string): this {
    return this.bytes(field, utf8.encode(value));
  }

  message(field: number, value: MessageWriter): this {
    return this.bytes(field, value.finish());
  }

  packedVarints(field: number, values: readonly (number | bigint)[]): this {
    return this.bytes(field, concatBytes(values.map((value) => encodeVarint(BigInt(value)))));
  }

  finish(): Uint8Array {
    return concatBytes(this.#parts, this.#sizeBytes);
  }

  #tag(field: number, wireType: number): void {
    this.#push(encodeVarint(BigInt(field * 8 + wireType)));
  }

  #push(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#sizeBytes += bytes.byteLength;
  }
}

function encodeVarint(value: bigint): Uint8Array {
  let rest = BigInt.asUintN(64, value);
  const bytes: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Uint8Array.from(bytes);
}

function concatBytes(
  parts: readonly Uint8Array[],
  sizeBytes = parts.reduce((sum, part) => sum + part.byteLength, 0),
): Uint8Array {
  const joined = new Uint8Array(sizeBytes);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.byteLength;
  }
  return joined;
}
