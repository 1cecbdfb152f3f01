import { describe, expect, test } from 'vitest';
import { cameraFromVideoCapture, frameFromMat, type OpenCvMat, type OpenCvVideoCapture } from '#sdk/capture/index.js';

/** Stand-ins with the shape of opencv4nodejs 5.6 (lib/typings/Mat.d.ts, VideoCapture.d.ts). */
class Mat implements OpenCvMat {
  readonly rows: number;
  readonly cols: number;
  readonly type: number;
  readonly #data: Uint8Array;

  constructor(
    rows: number,
    cols: number,
    type: number,
    data: Uint8Array = new Uint8Array(rows * cols * ((type >> 3) + 1)),
  ) {
    this.rows = rows;
    this.cols = cols;
    this.type = type;
    this.#data = data;
  }
  get channels() {
    return (this.type >> 3) + 1;
  }
  get empty() {
    return this.rows * this.cols === 0;
  }
  getData() {
    return Buffer.from(this.#data);
  }
  async getDataAsync() {
    return Buffer.from(this.#data);
  }
}
const CV_8UC1 = 0;
const CV_8UC3 = 16;
const CV_8UC4 = 24;
const CV_32FC3 = 21;
const EMPTY = new Mat(0, 0, CV_8UC3);

class VideoCapture implements OpenCvVideoCapture {
  released = 0;
  reading = 0;
  #onStart = () => {};
  /** The read of the last Mat has begun. */
  readonly started = new Promise<void>((resolve) => {
    this.#onStart = resolve;
  });
  readonly #mats: (Mat | Error)[];
  constructor(mats: (Mat | Error)[]) {
    this.#mats = mats;
  }
  read(): Mat {
    const next = this.#mats.shift() ?? EMPTY;
    if (next instanceof Error) throw next;
    return next;
  }
  async readAsync(): Promise<Mat> {
    expect(this.reading++).toBe(0);
    if (this.#mats.length === 1) this.#onStart();
    await new Promise(setImmediate);
    this.reading--;
    return this.read();
  }
  release() {
    expect(this.reading).toBe(0);
    this.released++;
  }
}
const error = (code: string) => expect.objectContaining({ name: 'SdkError', code });

describe('a Mat of opencv4nodejs', () => {
  test('becomes a BGR frame', async () => {
    const bgr = await frameFromMat(new Mat(1, 2, CV_8UC3, new Uint8Array([1, 2, 3, 4, 5, 6])), {
      id: 'a',
      sequence: 7,
    });
    expect(bgr).toMatchObject({ id: 'a', sequence: 7, width: 2, height: 1, format: 'bgr8' });
    expect([...bgr.data]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('becomes BGR from grey and BGRA', async () => {
    const grey = await frameFromMat(new Mat(1, 2, CV_8UC1, new Uint8Array([9, 8])));
    expect([...grey.data]).toEqual([9, 9, 9, 8, 8, 8]);
    const bgra = await frameFromMat(new Mat(1, 2, CV_8UC4, new Uint8Array([1, 2, 3, 255, 4, 5, 6, 0])));
    expect([...bgra.data]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test.each([
    ['is empty', EMPTY],
    ['holds floats', new Mat(1, 1, CV_32FC3)],
    ['holds fewer bytes than its size says', new Mat(2, 2, CV_8UC3, new Uint8Array(3))],
  ])('is refused when it %s', async (_name, mat) => {
    await expect(frameFromMat(mat)).rejects.toEqual(error('ERR_CAPTURE_UNSUPPORTED'));
  });
});

describe('a VideoCapture of opencv4nodejs', () => {
  const mats = (count: number) =>
    Array.from({ length: count }, (_, index) => new Mat(2, 2, CV_8UC3, new Uint8Array(12).fill(index)));

  test('is a camera that ends with an empty Mat', async () => {
    const capture = new VideoCapture(mats(3));
    const camera = cameraFromVideoCapture(capture, { id: 'mine' });
    const seen: string[] = [];
    for await (const frame of camera) seen.push(`${frame.id}:${frame.data[0]}`);
    expect(seen).toEqual(['mine-000001:0', 'mine-000002:1', 'mine-000003:2']);
    expect(camera.info).toMatchObject({ kind: 'opencv4nodejs', size: { width: 2, height: 2 } });
    expect(camera.status.state).toBe('ended');
    await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_ENDED'));
    await camera[Symbol.asyncDispose]();
    await camera[Symbol.asyncDispose]();
    expect(capture.released).toBe(1);
    await expect(camera.read()).rejects.toEqual(error('ERR_DISPOSED'));
  });

  test('is read by one call at a time, and released only after the last', async () => {
    const capture = new VideoCapture(mats(3));
    const camera = cameraFromVideoCapture(capture);
    const [first, second] = await Promise.all([camera.read(), camera.read()]);
    expect([first.sequence, second.sequence]).toEqual([1, 2]);
    const third = camera.read();
    await capture.started;
    const closing = camera[Symbol.asyncDispose]();
    expect(capture.released).toBe(0);
    await closing;
    expect((await third).sequence).toBe(3);
    expect(capture.released).toBe(1);
  });

  test('turns a failing read into a typed error', async () => {
    await using camera = cameraFromVideoCapture(new VideoCapture([new Error('select() timeout')]));
    await expect(camera.read()).rejects.toEqual(error('ERR_CAPTURE_LOST'));
    expect(camera.status.state).toBe('failed');
  });

  test('can be aborted while it reads', async () => {
    const reason = new Error('enough');
    await using camera = cameraFromVideoCapture(new VideoCapture(mats(2)), { release: false });
    const controller = new AbortController();
    const reading = camera.read({ signal: controller.signal });
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
    expect((await camera.read()).sequence).toBe(2);
  });
});
