import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import {
  type CallOptions,
  decodeImage,
  isSdkError,
  type ModelImage,
  naturalOrder,
  openCamera,
  SdkError,
} from 'scenebus';

export interface SourcePicture {
  /** The file, or the frame's id. */
  readonly name: string;
  readonly image: ModelImage;
}

/** What `decodeImage` reads, and what people have beside it: that is refused with advice rather than taken for a camera. */
const IMAGE_ENDINGS = new Set('.jpg .jpeg .png .webp .gif .tif .tiff .avif .bmp .heic .heif .jp2 .jxl'.split(' '));

export interface SourceOptions extends CallOptions {
  /** At most so many pictures; a camera gives one when it is left out. */
  readonly count?: number | undefined;
  /** Told of pictures of a folder that are left out because they cannot be decoded, and of those with a flaw. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/**
 * Pictures of what a user names: an image file, all images of a folder in natural order of their names, or frames of a
 * clip or camera. A folder goes on after a picture that cannot be decoded.
 * @throws SdkError ERR_IMAGE_* for a single picture, or when no picture of a folder can be decoded; ERR_CAPTURE_*
 */
export async function* readSource(
  source: string,
  { count, signal, onWarning = () => {} }: SourceOptions,
): AsyncGenerator<SourcePicture> {
  const files = await imageFiles(source);
  if (files !== undefined) return yield* readFiles(files, { count, signal, onWarning });
  await using camera = await openCamera(source, { signal });
  for (let i = 0; i < (count ?? 1); i++) {
    const frame = await camera.read({ signal });
    yield { name: frame.id, image: frame };
  }
}

async function* readFiles(
  files: readonly string[],
  { count = files.length, signal, onWarning }: SourceOptions & Required<Pick<SourceOptions, 'onWarning'>>,
): AsyncGenerator<SourcePicture> {
  let given = 0;
  let failure: unknown;
  for (const file of files) {
    if (given >= count) return;
    signal?.throwIfAborted();
    let decoded: Awaited<ReturnType<typeof decodeImage>>;
    try {
      decoded = await decodeImage(file, { signal });
    } catch (error) {
      if (files.length === 1 || !isSdkError(error) || error.code === 'ERR_NATIVE_UNAVAILABLE') throw error;
      failure = error;
      onWarning?.(`${file} is left out: ${error.message}`);
      continue;
    }
    const { warnings, ...picture } = decoded;
    for (const warning of warnings) onWarning?.(`${file}: ${warning}`);
    given++;
    yield { name: file, image: { id: file, ...picture } };
  }
  if (given === 0) throw failure;
}

/** undefined: the source is a clip or a camera. */
async function imageFiles(source: string): Promise<readonly string[] | undefined> {
  if (IMAGE_ENDINGS.has(extname(source).toLowerCase())) return [source];
  const isFolder = await stat(source).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
  if (!isFolder) return undefined;
  const names = (await readdir(source))
    .filter((name) => IMAGE_ENDINGS.has(extname(name).toLowerCase()))
    .sort(naturalOrder);
  if (names.length === 0)
    throw new SdkError('ERR_IMAGE_INVALID', `Expected images in the folder ${source}, but there is none.`);
  return names.map((name) => join(source, name));
}
