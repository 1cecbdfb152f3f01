import { expect, test } from 'vitest';
import { supportedAspectRatios } from '#sdk/checkpoint/config.js';
import { createImageProcessor } from '#sdk/image/index.js';
import { seenWidth } from '#sdk/model/remote/pictures.js';

test('pictures are sent as wide as the image processor makes them, and never wider than they are', async () => {
  const config = { rescaleFactor: 1 / 255, mean: [0, 0, 0] as const, std: [1, 1, 1] as const };
  for (const [tileSize, maxTiles] of [
    [28, 4],
    [16, 6],
  ] as const) {
    const supported = supportedAspectRatios(maxTiles);
    const processor = createImageProcessor({ ...config, tileSize, maxTiles, supportedAspectRatios: supported });
    for (let i = 0; i < 300; i++) {
      const [width, height] = [1 + ((i * 37) % 211), 1 + ((i * 53) % 197)];
      const image = { width, height, format: 'rgb8' as const, data: new Uint8Array(width * height * 3) };
      const { geometry } = await processor.process(image);
      const seen = Math.min(width, geometry.resizedWidth);
      expect(Math.abs(seenWidth(image, tileSize, maxTiles) - seen), `${width} × ${height}`).toBeLessThanOrEqual(1);
    }
  }
});
