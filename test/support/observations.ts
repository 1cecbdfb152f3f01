/** What a model might have said, for tests of everything behind it. */
import type { Observation } from '#sdk/bus/index.js';

export const MODEL = { id: 'Llama-demo', hash: 'abc123' } as const;

export function observation(text = 'A red cup stands on the table.', frameId = 'cam0-000001'): Observation {
  return {
    frame: { id: frameId, capturedAtMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678), width: 640, height: 480 },
    answer: {
      text,
      objects: [
        {
          label: 'red cup',
          box: { x1: 0.25, y1: 0.5, x2: 0.5, y2: 0.75 },
          boxPixels: [160, 240, 320, 360],
          score: 0.9,
          source: 'text',
          verified: true,
          trackId: 3,
          bearing: { azimuthDegrees: 12.5, elevationDegrees: -20, sigmaDegrees: 0.7, frame: 'base' },
          floor: { xMetres: 1.6, yMetres: 0.35, sigmaMetres: 0.05 },
        },
      ],
      finishReason: 'stop',
      usage: { promptTokens: 12, newTokens: 8 },
    },
    model: MODEL,
  };
}
