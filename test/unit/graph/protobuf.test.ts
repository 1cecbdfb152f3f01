import { describe, expect, test } from 'vitest';
import { MessageWriter, ProtobufError, readFields } from '#sdk/graph/protobuf.js';

const bytes = (writer: MessageWriter) => [...writer.finish()];

test('encodes as the protocol buffer documentation shows', () => {
  // https://protobuf.dev/programming-guides/encoding: 150 in field 1, "testing" in field 2, a nested message in field 3.
  expect(bytes(new MessageWriter().varint(1, 150))).toEqual([0x08, 0x96, 0x01]);
  expect(bytes(new MessageWriter().string(2, 'testing'))).toEqual([0x12, 0x07, ...Buffer.from('testing')]);
  expect(bytes(new MessageWriter().message(3, new MessageWriter().varint(1, 150)))).toEqual([0x1a, 3, 8, 0x96, 1]);
  expect(bytes(new MessageWriter().packedVarints(6, [3, 270, 86942]))).toEqual([0x32, 6, 3, 0x8e, 2, 0x9e, 0xa7, 5]);
});

test('negative integers take ten bytes, high fields two for the tag, floats four', () => {
  expect(bytes(new MessageWriter().varint(1, -1))).toEqual([8, ...new Array(9).fill(0xff), 1]);
  expect(bytes(new MessageWriter().varint(20, 1))).toEqual([0xa0, 1, 1]);
  expect(bytes(new MessageWriter().float(2, 1))).toEqual([0x15, 0, 0, 0x80, 0x3f]);
  expect(bytes(new MessageWriter().varint(1, 2n ** 62n))).toHaveLength(10);
});

test('text is UTF-8', () => {
  expect(bytes(new MessageWriter().string(1, 'ü'))).toEqual([0x0a, 2, 0xc3, 0xbc]);
});

describe('reading', () => {
  const message = new MessageWriter()
    .varint(1, -1)
    .string(2, 'ü')
    .float(3, 1)
    .packedVarints(4, [3, 270, -86942])
    .varint(20, 2 ** 40)
    .finish();

  test('gives back what was written', () => {
    const fields = readFields(message);
    expect(fields.map((field) => field.number)).toEqual([1, 2, 3, 4, 20]);
    expect(fields[0]!.varint()).toBe(-1);
    expect(fields[1]!.string()).toBe('ü');
    expect(fields[3]!.varints()).toEqual([3, 270, -86942]);
    expect(fields[4]!.varints()).toEqual([2 ** 40]);
    const copy = new MessageWriter();
    for (const field of fields) copy.copy(field);
    expect(copy.finish()).toEqual(message);
  });

  test('a message that was cut inside a field is refused', () => {
    const ends = [...readFields(message)].map((_, i, all) =>
      all.slice(0, i + 1).reduce((sum, field) => sum + field.raw.length, 0),
    );
    for (let length = 1; length < message.length; length++) {
      const read = () => readFields(message.subarray(0, length));
      if (ends.includes(length)) expect(read).not.toThrow();
      else expect(read).toThrow(ProtobufError);
    }
  });

  test.each([
    ['field 0', [0x02, 0]],
    ['a group', [0x0b, 0x0c]],
    ['a length past the end', [0x12, 0xff, 0xff, 0x7f]],
    ['a negative length', [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ['a number of eleven bytes', [0x08, ...new Array(11).fill(0x80)]],
  ])('%s is refused', (_, given) => {
    expect(() => readFields(Uint8Array.from(given))).toThrow(ProtobufError);
  });

  test('a field of another kind than asked for is refused', () => {
    const [number, text] = readFields(message);
    expect(() => number!.bytes()).toThrow(ProtobufError);
    expect(() => text!.varint()).toThrow(ProtobufError);
    const [invalid] = readFields(new MessageWriter().bytes(2, Uint8Array.of(0xff)).finish());
    expect(() => invalid!.string()).toThrow(ProtobufError);
  });
});
