import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { type CallOptions, decodeImage, type ModelImage, openCamera, SdkError } from 'scenebus';

export interface SourcePicture {
  /** The file, or the frame's id. */
  readonly name: string;
  readonly image: ModelImage;
}

const IMAGE_ENDINGS = new Set(['.jpg', '.jpeg', '.png', '.webp', '.gif', '.tif', '.tiff', '.bmp', '.avif']);

/**
 * Pictures of what a user names: an image file, all images of a folder, or frames of a clip or camera.
 * @param count at most so many; a camera gives one when it is left out
 */
export async function* readSource(
  source: string,
  { count, signal }: CallOptions & { readonly count?: number | undefined },
): AsyncGenerator<SourcePicture> {
  const files = await imageFiles(source);
  if (files !== undefined) {
    for (const file of files.slice(0, count)) {
      signal?.throwIfAborted();
      yield { name: file, image: { id: file, ...(await decodeImage(file, { signal })) } };
    }
    return;
  }
  await using camera = await openCamera(source, { signal });
  for (let i = 0; i < (count ?? 1); i++) {
    const frame = await camera.read({ signal });
    yield { name: frame.id, image: frame };
  }
}

/** undefined: the source is a clip or a camera. */
async function imageFiles(source: string): Promise<readonly string[] | undefined> {
  if (IMAGE_ENDINGS.has(extname(source).toLowerCase())) return [source];
  const isFolder = await stat(source).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
  if (!isFolder) return undefined;
  const names = (await readdir(source)).filter((name) => IMAGE_ENDINGS.has(extname(name).toLowerCase())).sort();
  if (names.length === 0)
    throw new SdkError('ERR_IMAGE_INVALID', `Expected images in the folder ${source}, but there is none.`);
  return names.map((name) => join(source, name));
}
