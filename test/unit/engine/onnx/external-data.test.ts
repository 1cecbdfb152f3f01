import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkExternalData } from '#sdk/engine/onnx/external-data.js';
import { MessageWriter } from '#sdk/graph/protobuf.js';
import { temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

type Entries = readonly (readonly [string, string])[];
const FLOAT = 1;

/** TensorProto of onnx.proto3: dims 1, data_type 2, name 8, external_data 13, data_location 14. */
function tensor(entries: Entries, { dims = [2, 3], type = FLOAT, location = true, name = 'w' } = {}): MessageWriter {
  const message = new MessageWriter();
  for (const side of dims) message.varint(1, side);
  message.varint(2, type).string(8, name);
  for (const [key, value] of entries) message.message(13, new MessageWriter().string(1, key).string(2, value));
  return location ? message.varint(14, 1) : message;
}

/** What holds a tensor, as fields of GraphProto. */
const PLACES: Record<string, (inner: MessageWriter) => [number, MessageWriter]> = {
  'an initializer': (inner) => [5, inner],
  'the values of a sparse initializer': (inner) => [15, new MessageWriter().message(1, inner)],
  'the indices of a sparse initializer': (inner) => [15, new MessageWriter().message(2, inner)],
  'an attribute': (inner) => [1, new MessageWriter().message(5, new MessageWriter().message(5, inner))],
  'a list in an attribute': (inner) => [1, new MessageWriter().message(5, new MessageWriter().message(10, inner))],
  'a sparse attribute': (inner) => {
    return [1, new MessageWriter().message(5, new MessageWriter().message(22, new MessageWriter().message(1, inner)))];
  },
  'a graph in an attribute': (inner) => {
    return [1, new MessageWriter().message(5, new MessageWriter().message(6, new MessageWriter().message(5, inner)))];
  },
  'a list of graphs in an attribute': (inner) => {
    return [1, new MessageWriter().message(5, new MessageWriter().message(11, new MessageWriter().message(5, inner)))];
  },
};

function model(graph: MessageWriter, more: (message: MessageWriter) => void = () => {}): Uint8Array {
  const message = new MessageWriter().varint(1, 10).message(7, graph).message(8, new MessageWriter().varint(2, 21));
  more(message);
  return message.finish();
}

/** A folder with a model and 100 bytes of weights beside it. */
function folderWith(bytes: Uint8Array): string {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'weights.bin'), Buffer.alloc(100));
  writeFileSync(join(folder, 'model.onnx'), bytes);
  return folder;
}

const initializer = (entries: Entries, options?: Parameters<typeof tensor>[1]) =>
  model(new MessageWriter().message(5, tensor(entries, options)));
const check = (bytes: Uint8Array) => checkExternalData(join(folderWith(bytes), 'model.onnx'));
const WEIGHTS = ['location', 'weights.bin'] as const;

describe('checkExternalData', () => {
  test('gives the ranges of a sound model, and none for what lies inside', async () => {
    const graph = new MessageWriter()
      .message(5, tensor([WEIGHTS, ['offset', '64'], ['length', '24']]))
      .message(5, tensor([WEIGHTS], { name: 'to the end' }))
      .message(5, tensor([WEIGHTS, ['offset', '97'], ['length', '3']], { dims: [5], type: 22, name: 'int4' }))
      .message(5, tensor([], { location: false, name: 'inside' }));
    const folder = folderWith(model(graph));
    const file = join(folder, 'weights.bin');
    expect(await checkExternalData(join(folder, 'model.onnx'))).toEqual([
      { tensor: 'w', file, offsetBytes: 64, sizeBytes: 24 },
      { tensor: 'to the end', file, offsetBytes: 0, sizeBytes: 24 },
      { tensor: 'int4', file, offsetBytes: 97, sizeBytes: 3 },
    ]);
  });

  test.each<[string, Entries]>([
    ['an absolute path', [['location', '/etc/passwd']]],
    ['a path upwards', [['location', '../weights.bin']]],
    ['a path down and up', [['location', 'a/../../weights.bin']]],
    ['the path of another system', [['location', '..\\weights.bin']]],
    ['a drive', [['location', 'C:weights.bin']]],
    ['a path with a zero in it', [['location', 'weights.bin\0.txt']]],
    [
      'an address in memory, as ONNX Runtime writes it',
      [
        ['location', '*/_ORT_MEM_ADDR_/*'],
        ['offset', '4096'],
      ],
    ],
    ['an empty path', [['location', '']]],
    ['a path with an empty part', [['location', './/weights.bin']]],
  ])('refuses %s', async (_, entries) => {
    await expect(check(initializer(entries))).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringContaining("not a plain path within the model's folder"),
    });
  });

  test.each<[string, Entries, RegExp, Parameters<typeof tensor>[1]?]>([
    ['no location', [['offset', '0']], /has no location/],
    ['two locations', [WEIGHTS, WEIGHTS], /states location twice/],
    ['two offsets', [WEIGHTS, ['offset', '0'], ['offset', '8']], /states offset twice/],
    ['a file that is not there', [['location', 'other.bin']], /"other.bin" does not exist/],
    ['a negative offset', [WEIGHTS, ['offset', '-8']], /offset "-8" is not a whole number/],
    ['an offset that is no number', [WEIGHTS, ['offset', '0x10']], /offset "0x10" is not a whole number/],
    ['an offset beyond float64', [WEIGHTS, ['offset', '9999999999999999']], /not a whole number/],
    ['an offset beyond the file', [WEIGHTS, ['offset', '77']], /bytes 77–101 go beyond the 100/],
    ['a length beyond the file', [WEIGHTS, ['length', '400']], /length is 400/, { dims: [2, 3] }],
    ['a length of another shape', [WEIGHTS, ['length', '20']], /length is 20, but its shape takes 24 bytes/],
    ['a shape beyond the file', [WEIGHTS], /go beyond the 100/, { dims: [1000, 1000] }],
    ['a shape beyond any file', [WEIGHTS], /beyond any file/, { dims: [2 ** 40, 2 ** 40] }],
    ['a negative shape', [WEIGHTS], /shape \[-1/, { dims: [-1, 4] }],
    ['strings', [WEIGHTS], /elements of type 8 cannot be stored in another file/, { type: 8 }],
    ['entries without the mark of an external tensor', [['location', '../x']], /not a plain path/, { location: false }],
  ])('refuses %s', async (_, entries, message, options) => {
    await expect(check(initializer(entries, options))).rejects.toMatchObject({
      code: 'ERR_MODEL_INVALID',
      message: expect.stringMatching(message),
    });
  });

  test.each(Object.keys(PLACES))('finds what lies in %s', async (place) => {
    const [field, message] = PLACES[place]!(tensor([['location', '/etc/passwd']]));
    await expect(check(model(new MessageWriter().message(field, message)))).rejects.toThrow('/etc/passwd');
  });

  test('finds what lies in functions and training graphs', async () => {
    const evil = tensor([['location', '/etc/passwd']]);
    const [, node] = PLACES['an attribute']!(evil);
    const inFunction = model(new MessageWriter(), (message) =>
      message.message(25, new MessageWriter().message(7, node)),
    );
    await expect(check(inFunction)).rejects.toThrow('/etc/passwd');
    const graph = new MessageWriter().message(5, evil);
    const inTraining = model(new MessageWriter(), (message) =>
      message.message(20, new MessageWriter().message(2, graph)),
    );
    await expect(check(inTraining)).rejects.toThrow('/etc/passwd');
  });

  test('follows no link out of the folder, a folder in between or a file', async () => {
    const outside = temporaryFolder();
    writeFileSync(join(outside, 'weights.bin'), Buffer.alloc(100));
    const file = folderWith(initializer([['location', 'link.bin']]));
    symlinkSync(join(outside, 'weights.bin'), join(file, 'link.bin'));
    await expect(checkExternalData(join(file, 'model.onnx'))).rejects.toThrow("leads out of the model's folder");
    const folder = folderWith(initializer([['location', 'sub/weights.bin']]));
    symlinkSync(outside, join(folder, 'sub'));
    await expect(checkExternalData(join(folder, 'model.onnx'))).rejects.toThrow("leads out of the model's folder");
    const device = folderWith(initializer([['location', 'sub']]));
    mkdirSync(join(device, 'sub'));
    await expect(checkExternalData(join(device, 'model.onnx'))).rejects.toThrow('is not a regular file');
  });

  test('takes a model of a hub cache, where model and weights are links into one folder', async () => {
    const cache = temporaryFolder();
    const [blobs, snapshot] = ['blobs', 'snapshot'].map((name) => join(cache, name));
    for (const each of [blobs!, snapshot!]) mkdirSync(each);
    writeFileSync(join(blobs!, 'aa'), initializer([WEIGHTS]));
    writeFileSync(join(blobs!, 'bb'), Buffer.alloc(100));
    symlinkSync('../blobs/aa', join(snapshot!, 'model.onnx'));
    symlinkSync('../blobs/bb', join(snapshot!, 'weights.bin'));
    const [range] = await checkExternalData(join(snapshot!, 'model.onnx'));
    expect(range).toMatchObject({ file: join(blobs!, 'bb'), sizeBytes: 24 });
  });

  test('says what is no ONNX model, and what is not there', async () => {
    await expect(check(Buffer.from('PK\x03\x04 something else'))).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
    const missing = join(temporaryFolder(), 'model.onnx');
    await expect(checkExternalData(missing)).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
  });

  test('does not follow graphs without end', async () => {
    let graph = new MessageWriter();
    for (let depth = 0; depth < 80; depth++) {
      graph = new MessageWriter().message(1, new MessageWriter().message(5, new MessageWriter().message(6, graph)));
    }
    await expect(check(model(graph))).rejects.toThrow('at most 64 deep');
  });
});
