/** Media types of pictures that are decoded. */
export const PICTURE_TYPES: readonly string[] = ['jpeg', 'jpg', 'png', 'webp', 'gif', 'tiff', 'avif'].map(
  (name) => `image/${name}`,
);
