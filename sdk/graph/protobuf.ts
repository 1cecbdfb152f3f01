/**
 * Reads and writes the protocol buffer wire format: as much of it as ONNX needs.
 * Encoding is append-only; a nested message is encoded first and then written as bytes.
 */
const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;
const WIRE_FIXED32 = 5;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true });

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

  /** A field as it was read. */
  copy(field: Field): this {
    this.#push(field.raw);
    return this;
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

/** Bytes that are no message of the expected kind: cut, or something else altogether. */
export class ProtobufError extends Error {
  override readonly name = 'ProtobufError';
}

/** One field of a message; bytes are views. */
export class Field {
  readonly number: number;
  /** Tag and value as they stand. */
  readonly raw: Uint8Array;
  readonly #wireType: number;
  readonly #value: Uint8Array;

  constructor(number: number, wireType: number, raw: Uint8Array, value: Uint8Array) {
    this.number = number;
    this.raw = raw;
    this.#wireType = wireType;
    this.#value = value;
  }

  /** @throws ProtobufError when the field holds something else; so do the other two. */
  bytes(): Uint8Array {
    if (this.#wireType !== WIRE_BYTES) throw new ProtobufError(`expected bytes in field ${this.number}`);
    return this.#value;
  }

  string(): string {
    try {
      return fromUtf8.decode(this.bytes());
    } catch (cause) {
      if (cause instanceof ProtobufError) throw cause;
      throw new ProtobufError(`expected UTF-8 in field ${this.number}`, { cause });
    }
  }

  /** As int64. */
  varint(): number {
    if (this.#wireType !== WIRE_VARINT) throw new ProtobufError(`expected a number in field ${this.number}`);
    return readVarint(this.#value, 0).value;
  }

  /** A repeated number: one of them, or several in one field. */
  varints(): number[] {
    if (this.#wireType === WIRE_VARINT) return [this.varint()];
    const values: number[] = [];
    for (let at = 0; at < this.bytes().length; ) {
      const { value, end } = readVarint(this.#value, at);
      values.push(value);
      at = end;
    }
    return values;
  }
}

/** @throws ProtobufError for bytes that do not end where a field does, or that no field begins with. */
export function readFields(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint(bytes, at);
    const [number, wireType] = [Math.floor(tag.value / 8), tag.value % 8];
    if (number < 1 || number > 2 ** 29 - 1) throw new ProtobufError(`expected a field at byte ${at}, got ${tag.value}`);
    let start = tag.end;
    let end: number;
    if (wireType === WIRE_BYTES) {
      const length = readVarint(bytes, start);
      if (length.value < 0) throw new ProtobufError(`expected a length at byte ${start}, got ${length.value}`);
      start = length.end;
      end = start + length.value;
    } else if (wireType === WIRE_VARINT) end = readVarint(bytes, start).end;
    else if (wireType === WIRE_FIXED32) end = start + 4;
    else if (wireType === WIRE_FIXED64) end = start + 8;
    else throw new ProtobufError(`expected a field at byte ${at}, got one of kind ${wireType}`);
    if (end > bytes.length) {
      throw new ProtobufError(`expected field ${number} to end at byte ${end}, there are only ${bytes.length}`);
    }
    fields.push(new Field(number, wireType, bytes.subarray(at, end), bytes.subarray(start, end)));
    at = end;
  }
  return fields;
}

function readVarint(bytes: Uint8Array, at: number): { readonly value: number; readonly end: number } {
  let value = 0n;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) throw new ProtobufError(`expected a number at byte ${at}, the bytes end there`);
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return { value: Number(BigInt.asIntN(64, value)), end: at + i + 1 };
  }
  throw new ProtobufError(`expected a number of at most ten bytes at byte ${at}`);
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
