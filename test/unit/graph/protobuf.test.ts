import { expect, test } from 'vitest';
import { MessageWriter } from '#graph/protobuf.js';

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
