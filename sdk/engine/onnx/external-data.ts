/**
 * What an ONNX file of strangers says about other files: looked at here before ONNX Runtime or TensorRT map what it names.
 * Both have believed absolute paths, links and offsets beyond the file (CVE-2026-34447 and others).
 */
import { open, realpath, stat } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { FIELDS, Message, readModel } from '../../graph/onnx.js';
import { ProtobufError } from '../../graph/protobuf.js';

/** Bytes of another file that hold a tensor; they exist. */
export interface ExternalRange {
  readonly tensor: string;
  /** Absolute, without links. */
  readonly file: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Fields of onnx.proto3 in which tensors lie, beside those of `FIELDS`. */
const TRAINING_INFO = 20;
const TRAINING_GRAPHS = [1, 2];
const SPARSE_INITIALIZER = 15;
const SPARSE_PARTS = [1, 2];
const FUNCTION_ATTRIBUTE = 11;
const ATTRIBUTE = { tensor: 5, graph: 6, tensors: 10, graphs: 11, sparse: 22, sparses: 23 } as const;
const DATA_LOCATION = 14;
const EXTERNAL = 1;
const MAX_DEPTH = 64;

/** Bits of an element by ONNX's number of its type; strings have none. */
const ELEMENT_BITS: ReadonlyMap<number, number> = new Map([
  ...[1, 6, 12].map((type) => [type, 32] as const), // float, int32, uint32
  ...[2, 3, 9, 17, 18, 19, 20, 24].map((type) => [type, 8] as const), // uint8, int8, bool, float8
  ...[4, 5, 10, 16].map((type) => [type, 16] as const), // uint16, int16, float16, bfloat16
  ...[7, 11, 13, 14].map((type) => [type, 64] as const), // int64, double, uint64, complex64
  [15, 128], // complex128
  ...[21, 22, 23].map((type) => [type, 4] as const), // uint4, int4, float4
  ...[25, 26].map((type) => [type, 2] as const), // uint2, int2
]);

/**
 * Every range that the model names, checked: a regular file in the model's folder (or, where the model itself is a link,
 * beside what it leads to, as hub caches have it), and offset and length within it and right for the tensor.
 *
 * @throws SdkError ERR_MODEL_NOT_FOUND without the file; ERR_LIMIT_EXCEEDED for one above `LIMITS.onnxFileBytes`;
 * ERR_MODEL_INVALID with `details.problems`
 */
export async function checkExternalData(modelFile: string): Promise<readonly ExternalRange[]> {
  const bytes = await readModelFile(modelFile);
  const problems: string[] = [];
  let tensors: Message[];
  try {
    tensors = tensorsOf(readModel(bytes));
  } catch (cause) {
    if (!(cause instanceof ProtobufError)) throw cause;
    throw invalid(modelFile, [`it is not an ONNX model: ${cause.message}`], cause);
  }
  const roots = [await realpath(dirname(modelFile)), dirname(await realpath(modelFile))];
  const ranges: ExternalRange[] = [];
  for (const tensor of tensors) {
    const name = tensor.string(FIELDS.tensor.name) || '(without a name)';
    try {
      const range = await rangeOf(tensor, name, modelFile, roots);
      if (range !== null) ranges.push(range);
    } catch (error) {
      if (!(error instanceof RangeError) && !(error instanceof ProtobufError)) throw error;
      problems.push(`tensor ${name}: ${error.message}`);
    }
  }
  if (problems.length > 0) throw invalid(modelFile, problems);
  return ranges;
}

async function readModelFile(file: string): Promise<Uint8Array> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw new SdkError('ERR_MODEL_NOT_FOUND', `Expected an ONNX model at ${file}, but it cannot be opened.`, { cause });
  });
  try {
    const { size } = await handle.stat();
    if (size > LIMITS.onnxFileBytes) {
      throw new SdkError(
        'ERR_LIMIT_EXCEEDED',
        `${file} has ${size} bytes; at most ${LIMITS.onnxFileBytes} are read. Larger models keep their weights in a file beside them.`,
        { details: { file, sizeBytes: size, limitBytes: LIMITS.onnxFileBytes } },
      );
    }
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** Every TensorProto, wherever it may stand. A field that should come once is looked at each time it comes. */
function tensorsOf(model: Message): Message[] {
  const found: Message[] = [];
  const tensor = (bytes: Uint8Array) => void found.push(new Message(bytes));
  const sparse = (bytes: Uint8Array) => {
    const message = new Message(bytes);
    for (const part of SPARSE_PARTS) for (const field of message.all(part)) tensor(field.bytes());
  };
  const attribute = (bytes: Uint8Array, depth: number) => {
    const message = new Message(bytes);
    for (const field of [...message.all(ATTRIBUTE.tensor), ...message.all(ATTRIBUTE.tensors)]) tensor(field.bytes());
    for (const field of [...message.all(ATTRIBUTE.sparse), ...message.all(ATTRIBUTE.sparses)]) sparse(field.bytes());
    for (const field of [...message.all(ATTRIBUTE.graph), ...message.all(ATTRIBUTE.graphs)])
      graph(field.bytes(), depth + 1);
  };
  const node = (bytes: Uint8Array, depth: number) => {
    for (const field of new Message(bytes).all(FIELDS.node.attribute)) attribute(field.bytes(), depth);
  };
  const graph = (bytes: Uint8Array, depth: number) => {
    if (depth > MAX_DEPTH) throw new ProtobufError(`expected graphs within graphs at most ${MAX_DEPTH} deep`);
    const message = new Message(bytes);
    for (const field of message.all(FIELDS.graph.initializer)) tensor(field.bytes());
    for (const field of message.all(SPARSE_INITIALIZER)) sparse(field.bytes());
    for (const field of message.all(FIELDS.graph.node)) node(field.bytes(), depth);
  };
  for (const field of model.all(FIELDS.model.graph)) graph(field.bytes(), 0);
  for (const field of model.all(FIELDS.model.functions)) {
    const message = new Message(field.bytes());
    for (const inner of message.all(FIELDS.function.node)) node(inner.bytes(), 0);
    for (const inner of message.all(FUNCTION_ATTRIBUTE)) attribute(inner.bytes(), 0);
  }
  for (const field of model.all(TRAINING_INFO)) {
    const message = new Message(field.bytes());
    for (const part of TRAINING_GRAPHS) for (const inner of message.all(part)) graph(inner.bytes(), 0);
  }
  return found;
}

/** null for a tensor that lies in the model itself. */
async function rangeOf(
  tensor: Message,
  name: string,
  modelFile: string,
  roots: readonly string[],
): Promise<ExternalRange | null> {
  const entries = tensor.all(FIELDS.tensor.external).map((field) => new Message(field.bytes()));
  const isExternal = tensor.all(DATA_LOCATION).some((field) => field.varint() === EXTERNAL);
  if (!isExternal && entries.length === 0) return null;
  const values = new Map<string, string>();
  for (const entry of entries) {
    const key = entry.string(1);
    if (values.has(key)) throw new RangeError(`external_data states ${key} twice`);
    values.set(key, entry.string(2));
  }
  const location = values.get('location');
  if (location === undefined) throw new RangeError('external_data has no location');
  const file = await resolveLocation(location, modelFile, roots);
  const { size } = await stat(file);
  const neededBytes = sizeOf(tensor);
  const offsetBytes = wholeNumber('offset', values.get('offset') ?? '0');
  const sizeBytes = values.has('length') ? wholeNumber('length', values.get('length')!) : neededBytes;
  if (sizeBytes !== neededBytes)
    throw new RangeError(`length is ${sizeBytes}, but its shape takes ${neededBytes} bytes`);
  if (offsetBytes + sizeBytes > size) {
    throw new RangeError(`bytes ${offsetBytes}–${offsetBytes + sizeBytes} go beyond the ${size} of ${location}`);
  }
  return { tensor: name, file, offsetBytes, sizeBytes };
}

/** `/` between folders, whatever the system: the format says so. */
async function resolveLocation(location: string, modelFile: string, roots: readonly string[]): Promise<string> {
  const shown = JSON.stringify(location.slice(0, 200));
  const parts = location.split('/');
  // ONNX Runtime takes "*/_ORT_MEM_ADDR_/*" for an address in its own memory.
  const isPlain = !/[\\\0*:]/.test(location) && parts.every((part) => part !== '' && part !== '.' && part !== '..');
  if (!isPlain) throw new RangeError(`location ${shown} is not a plain path within the model's folder`);
  const file = await realpath(join(dirname(modelFile), ...parts)).catch(() => undefined);
  if (file === undefined) throw new RangeError(`location ${shown} does not exist`);
  if (!roots.some((root) => file.startsWith(root.endsWith(sep) ? root : root + sep))) {
    throw new RangeError(`location ${shown} leads out of the model's folder`);
  }
  if (!(await stat(file)).isFile()) throw new RangeError(`location ${shown} is not a regular file`);
  return file;
}

function wholeNumber(what: string, text: string): number {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
    throw new RangeError(`${what} ${JSON.stringify(text.slice(0, 40))} is not a whole number of bytes`);
  }
  return value;
}

function sizeOf(tensor: Message): number {
  const type = tensor.number(FIELDS.tensor.type);
  const bits = ELEMENT_BITS.get(type);
  if (bits === undefined) throw new RangeError(`elements of type ${type} cannot be stored in another file`);
  const dims = tensor.numbers(FIELDS.tensor.dims);
  if (dims.some((side) => !Number.isSafeInteger(side) || side < 0)) throw new RangeError(`shape [${dims.join(', ')}]`);
  const total = (dims.reduce((product, side) => product * BigInt(side), BigInt(bits)) + 7n) / 8n;
  if (total > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`shape [${dims.join(', ')}] is beyond any file`);
  return Number(total);
}

function invalid(file: string, problems: readonly string[], cause?: unknown): SdkError {
  const shown = problems.slice(0, 10).join('; ');
  const more = problems.length > 10 ? `; and ${problems.length - 10} more` : '';
  return new SdkError('ERR_MODEL_INVALID', `${file} is not used: ${shown}${more}.`, {
    cause,
    details: { file, problems },
  });
}
