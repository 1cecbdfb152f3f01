/** Pictures of what a user names: checked before the model is loaded, read after it. */
import { access, constants, readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import {
  type CallOptions,
  type Camera,
  type CameraOptions,
  type DecodedImage,
  decodeImage,
  type Frame,
  isSdkError,
  LIMITS,
  type ModelImage,
  openCamera,
  SdkError,
} from 'scenebus';
import { naturalOrder, requireCameraAddress } from 'scenebus/service';
import { expandPattern } from './file-pattern.js';

export interface SourcePicture {
  /** The file, or the frame's id. */
  readonly name: string;
  readonly image: ModelImage;
  /** Of a camera or a clip: more may come. */
  readonly isOfStream: boolean;
}

/** What `decodeImage` reads, and what people have beside it: that is refused with advice rather than taken for a camera. */
const IMAGE_ENDINGS = new Set('.jpg .jpeg .png .webp .gif .tif .tiff .avif .bmp .heic .heif .jp2 .jxl'.split(' '));

export interface SourceOptions extends CallOptions {
  /** At most so many pictures of each source; a camera gives one when it is left out. */
  readonly count?: number | undefined;
  /** Instead of some pictures of a camera or a clip: all, at most so many a second, until it ends. */
  readonly streamFps?: number | undefined;
  /** How cameras and clips are opened. */
  readonly camera?: Pick<CameraOptions, 'size' | 'rotation'> | undefined;
  /** Told of pictures that are left out because they cannot be decoded, and of those with a flaw. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** What `-` stands for. */
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
}

export interface Sources extends AsyncDisposable {
  /** In the order in which they were named. Once. */
  pictures(): AsyncIterable<SourcePicture>;
}

type Source =
  | { readonly kind: 'files'; readonly files: readonly string[] }
  | { readonly kind: 'stdin'; readonly image: DecodedImage }
  | { readonly kind: 'camera'; readonly address: string };

/**
 * Looks at everything that was named: image files, folders (all their images, in natural order), patterns such as
 * `pictures/*.jpg`, `-` for an image on standard input, clips and cameras. What cannot work is said now, before minutes
 * are spent on a model: files that are not there, a single picture that is none, a first camera that does not open.
 *
 * @throws SdkError ERR_IMAGE_*, ERR_CAPTURE_*, ERR_ARGUMENT_INVALID
 */
export async function openSources(names: readonly string[], options: SourceOptions): Promise<Sources> {
  const sources: Source[] = [];
  for (const name of names) sources.push(...(await findSource(name, options)));
  const [only, ...others] = sources.flatMap((source) => (source.kind === 'files' ? source.files : []));
  let pictures = 0;
  for (const source of sources) pictures += source.kind === 'files' ? source.files.length : 1;
  // Of several pictures a broken one is left out, with a warning; of one nothing is left.
  if (only !== undefined && others.length === 0 && pictures === 1) await decodeImage(only, { signal: options.signal });

  const cameras = new Map<Source, Camera>();
  const first = sources.find(({ kind }) => kind === 'camera');
  if (first?.kind === 'camera') cameras.set(first, await openWith(first.address, options));
  const close = async () => {
    for (const camera of cameras.values()) await camera[Symbol.asyncDispose]();
  };
  return {
    pictures: () => readSources(sources, pictures === 1, cameras, options),
    [Symbol.asyncDispose]: close,
  };
}

async function findSource(name: string, { signal, stdin }: SourceOptions): Promise<readonly Source[]> {
  signal?.throwIfAborted();
  if (name === '-') {
    const bytes = await readAll(stdin, signal);
    return [{ kind: 'stdin', image: await decodeImage(bytes, { signal }) }];
  }
  const matches = await expandPattern(name);
  if (matches === undefined) return [await findOne(name)];
  if (matches.length === 0)
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected files that match ${name}, but there is none.`);
  return await Promise.all(matches.sort(naturalOrder).map(findOne));
}

async function findOne(name: string): Promise<Source> {
  if (IMAGE_ENDINGS.has(extname(name).toLowerCase()) && !/^[a-z]+:\/\//i.test(name)) {
    await requireFile(name, 'ERR_IMAGE_INVALID');
    return { kind: 'files', files: [name] };
  }
  const isFolder = await stat(name).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
  if (isFolder) return { kind: 'files', files: await imagesOf(name) };
  requireCameraAddress(name);
  if (!/^(?:\d{1,3}$|[A-Za-z][A-Za-z0-9+.-]*:)/.test(name)) await requireFile(name, 'ERR_CAPTURE_NOT_FOUND');
  return { kind: 'camera', address: name };
}

async function requireFile(name: string, code: 'ERR_IMAGE_INVALID' | 'ERR_CAPTURE_NOT_FOUND'): Promise<void> {
  try {
    await access(name, constants.R_OK);
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === 'EACCES' ? 'this user may not read it' : 'it is not there';
    throw new SdkError(code, `Expected the file ${name}, but ${reason}.`, { cause });
  }
}

async function imagesOf(folder: string): Promise<readonly string[]> {
  const names = (await readdir(folder))
    .filter((name) => IMAGE_ENDINGS.has(extname(name).toLowerCase()))
    .sort(naturalOrder);
  if (names.length === 0)
    throw new SdkError('ERR_IMAGE_INVALID', `Expected images in the folder ${folder}, but there is none.`);
  return names.map((name) => join(folder, name));
}

async function readAll(stdin: AsyncIterable<Uint8Array> | undefined, signal?: AbortSignal): Promise<Uint8Array> {
  if (stdin === undefined)
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      'Expected a picture on standard input (`… < photo.jpg`), but it is a terminal.',
    );
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    signal?.throwIfAborted();
    size += chunk.length;
    if (size > LIMITS.imageFileBytes)
      throw new SdkError(
        'ERR_IMAGE_TOO_LARGE',
        `Expected a picture of at most ${LIMITS.imageFileBytes} bytes on standard input, but more came.`,
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function* readSources(
  sources: readonly Source[],
  isOnly: boolean,
  cameras: ReadonlyMap<Source, Camera>,
  options: SourceOptions,
): AsyncGenerator<SourcePicture> {
  const { count, streamFps, signal, onWarning = () => {} } = options;
  let given = 0;
  let failure: unknown;
  for (const source of sources) {
    if (source.kind === 'camera') {
      const opened = cameras.get(source);
      await using camera = opened ?? (await openWith(source.address, options));
      for await (const frame of streamFps === undefined
        ? readFrames(camera, count ?? 1, signal)
        : camera.frames({ maxFps: streamFps, signal })) {
        given++;
        yield { name: frame.id, image: frame, isOfStream: true };
      }
    } else if (source.kind === 'stdin') {
      given++;
      yield withWarnings('-', source.image, onWarning);
    } else {
      let left = count ?? source.files.length;
      for (const file of source.files) {
        if (left <= 0) break;
        signal?.throwIfAborted();
        let decoded: DecodedImage;
        try {
          decoded = await decodeImage(file, { signal });
        } catch (error) {
          if (isOnly || !isSdkError(error) || error.code === 'ERR_NATIVE_UNAVAILABLE') throw error;
          failure = error;
          onWarning(`${file} is left out: ${error.message}`);
          continue;
        }
        left--;
        given++;
        yield withWarnings(file, decoded, onWarning);
      }
    }
  }
  if (given === 0) throw failure;
}

async function openWith(address: string, { camera, signal }: SourceOptions): Promise<Camera> {
  return await openCamera(address, { ...camera, signal });
}

async function* readFrames(camera: Camera, count: number, signal: AbortSignal | undefined): AsyncGenerator<Frame> {
  for (let i = 0; i < count; i++) yield await camera.read({ signal });
}

function withWarnings(
  name: string,
  { warnings, ...picture }: DecodedImage,
  onWarning: (message: string) => void,
): SourcePicture {
  for (const warning of warnings) onWarning(`${name}: ${warning}`);
  return { name, image: { id: name, ...picture }, isOfStream: false };
}
