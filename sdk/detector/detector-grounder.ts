/** Boxes of a detector, among which the model decides. */
import { SdkError } from '../core/errors.js';
import { refuseUnknownOptions } from '../core/option-names.js';
import type { CallOptions, GroundedObject } from '../core/types.js';
import { boxToPixels } from '../geometry/box.js';
import type { Grounder } from '../grounding/index.js';
import { Detector } from './detector.js';

/** How a detector is opened. */
export interface DetectorOptions extends CallOptions {
  /** Of ONNX Runtime. Default 2. */
  readonly threads?: number | undefined;
  /**
   * `model` (default): the model is asked yes or no about the cut-out of each box, at most 16, and what it refutes is left
   * out; each costs a question about a new picture. `detector`: its boxes as they are.
   */
  readonly decides?: 'model' | 'detector' | undefined;
  /**
   * `calibrated` (default): scores as probabilities where `detector.json` knows how they become ones (`scenebus
   * calibrate-scores --detector`). `raw`: as the detector gives them.
   */
  readonly scores?: 'calibrated' | 'raw' | undefined;
}

/** A grounder that owns a process. */
export interface DetectorGrounder extends Grounder, AsyncDisposable {
  readonly source: 'detector';
  /** All that the detector can find. */
  readonly labels: readonly string[];
  /** Of its process, while there is one. */
  readonly pid: number | undefined;
}

/**
 * Opens an ONNX detector of your own, of which `detector.json` beside it says size and normalisation of the input, labels
 * and the layout of the outputs (`detr`, `yolo`), with a picture and what must be found in it. It runs in a process of its
 * own; a call during which that dies fails, and the next one starts it again. Give it to `loadModel` as `grounder`, and
 * dispose it after the model.
 *
 * Boxes whose label the question or the answer names are given; all of them when neither names any.
 *
 * @param directory folder with `detector.json`, the ONNX file and the picture
 * @throws SdkError ERR_MODEL_NOT_FOUND, ERR_MODEL_INVALID (also when the self-test fails), ERR_NATIVE_UNAVAILABLE,
 * ERR_ENGINE_*, ERR_ARGUMENT_INVALID
 *
 * @example
 * await using detector = await openDetector('detectors/parts');
 * await using model = await loadModel('models/my-model', { grounder: ['text', detector] });
 */
export async function openDetector(directory: string, options: DetectorOptions = {}): Promise<DetectorGrounder> {
  checkOptions(options);
  const { threads = 2, decides = 'model', scores = 'calibrated', signal } = options;
  const detector = await Detector.open(directory, { threads, scores, signal });
  const { labels } = detector.manifest;
  return {
    source: 'detector',
    labels,
    get pid() {
      return detector.pid;
    },
    ground: async ({ text, question = '', image, verify }, { signal } = {}) => {
      const found = await detector.detect(image, { signal });
      const named = found.filter(({ label }) => names(question, label) || names(text, label));
      const isNamed = labels.some((label) => names(question, label) || names(text, label));
      const objects = (isNamed ? named : found).map(({ label, box, score }): GroundedObject => {
        const boxPixels = boxToPixels(box, image.width, image.height);
        return { label, box, boxPixels, score, source: 'detector' };
      });
      if (decides === 'detector' || verify === undefined) return objects;
      const judged = await verify(objects);
      signal?.throwIfAborted();
      return judged.filter(({ verified }) => verified !== false);
    },
    [Symbol.asyncDispose]: () => detector[Symbol.asyncDispose](),
  };
}

/** Whether a text has the label as whole words, one or several of it. */
function names(text: string, label: string): boolean {
  const escaped = label.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\s+/g, '\\s+');
  return new RegExp(`(?<![\\p{L}\\p{N}])${escaped}(?:e?s)?(?![\\p{L}\\p{N}])`, 'iu').test(text);
}

function checkOptions(options: DetectorOptions): void {
  refuseUnknownOptions(options, ['threads', 'decides', 'scores', 'signal'], 'openDetector');
  const { threads = 2, decides = 'model', scores = 'calibrated' } = options;
  const refuse = (option: string, expected: string, value: unknown) => {
    const message = `Expected ${expected} for ${option} but received ${JSON.stringify(value)}.`;
    throw new SdkError('ERR_ARGUMENT_INVALID', message, { details: { option } });
  };
  if (!Number.isSafeInteger(threads) || threads < 1 || threads > 256)
    refuse('threads', 'a whole number from 1 to 256', threads);
  if (decides !== 'model' && decides !== 'detector') refuse('decides', '"model" or "detector"', decides);
  if (scores !== 'calibrated' && scores !== 'raw') refuse('scores', '"calibrated" or "raw"', scores);
}
