/** The process of a detector: ONNX Runtime, one call after another. */
import { connectParent } from '../child/index.js';
import { SdkError, serializeError } from '../core/errors.js';
import type { OutputTensor } from './decode.js';
import type { FromDetector, ToDetector } from './protocol.js';

type Ort = typeof import('onnxruntime-node');

let ort: Ort | undefined;
let session: import('onnxruntime-node').InferenceSession | undefined;
let turn: Promise<void> = Promise.resolve();

const link = connectParent((message) => {
  const request = message as ToDetector;
  if (request.type === 'end') return link?.exit(0);
  turn = turn.then(() => answer(request));
});
if (link === undefined) {
  console.error('This is the detector process of SceneBus; it is started by openDetector.');
  process.exitCode = 2;
}

async function answer(request: Exclude<ToDetector, { type: 'end' }>): Promise<void> {
  const reply = await (request.type === 'open' ? open(request) : run(request)).then(
    (outputs): FromDetector => ({ id: request.id, outputs }),
    (error: unknown): FromDetector => ({ id: request.id, error: serializeError(error, 'ERR_ENGINE_FAILED') }),
  );
  link?.send(reply);
}

async function open({ model, threads }: ToDetector & { readonly type: 'open' }): Promise<Record<string, never>> {
  try {
    ort = (await import('onnxruntime-node')).default as unknown as Ort;
  } catch (cause) {
    const message = `Expected onnxruntime-node to load but: ${(cause as Error).message}. Install it with \`npm i onnxruntime-node --ignore-scripts\`.`;
    throw new SdkError('ERR_NATIVE_UNAVAILABLE', message, { cause });
  }
  try {
    session = await ort.InferenceSession.create(model, { intraOpNumThreads: threads, logSeverityLevel: 3 });
  } catch (cause) {
    const message = `Expected ${model} as an ONNX file that ONNX Runtime can load, but: ${(cause as Error).message}`;
    throw new SdkError('ERR_MODEL_INVALID', message, { cause });
  }
  return {};
}

async function run(request: ToDetector & { readonly type: 'run' }): Promise<Record<string, OutputTensor>> {
  const { input, dims, data, outputs } = request;
  if (ort === undefined || session === undefined) throw new SdkError('ERR_ENGINE_DIED', 'The detector is not open.');
  if (!session.inputNames.includes(input)) throw unknownName('input', input, session.inputNames);
  const missing = outputs.find((name) => !session?.outputNames.includes(name));
  if (missing !== undefined) throw unknownName('output', missing, session.outputNames);
  let results: import('onnxruntime-node').InferenceSession.OnnxValueMapType;
  try {
    results = await session.run({ [input]: new ort.Tensor('float32', data, [...dims]) }, [...outputs]);
  } catch (cause) {
    const problem = (cause as Error).message;
    // Its only word for an input that does not fit.
    const isShape = /invalid dimensions|unexpected input data type|Got invalid/i.test(problem);
    throw new SdkError(
      isShape ? 'ERR_MODEL_INVALID' : 'ERR_ENGINE_FAILED',
      `Expected the detector to take float32 [${dims.join(', ')}] as "${input}", but: ${problem} Correct input in detector.json.`,
      { cause },
    );
  }
  return Object.fromEntries(
    outputs.map((name) => {
      const { dims: shape, data: values } = results[name] as import('onnxruntime-node').Tensor;
      return [name, { dims: shape, data: values as Float32Array }];
    }),
  );
}

function unknownName(what: string, name: string, names: readonly string[]): SdkError {
  return new SdkError(
    'ERR_MODEL_INVALID',
    `Expected an ${what} "${name}" of the detector, but it has ${names.join(', ')}. Correct ${what} in detector.json.`,
    { details: { expected: name, names } },
  );
}
