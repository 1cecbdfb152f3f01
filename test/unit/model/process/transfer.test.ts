import { serialize } from 'node:v8';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { ByteRange } from '#sdk/model/process/shared-frames.js';
import { putTogether, takeApart } from '#sdk/model/process/transfer.js';

/** Memory for both sides. */
function memory() {
  const held = new Map<number, Uint8Array>();
  let endBytes = 0;
  const share = (bytes: Uint8Array): ByteRange => {
    const range = { offsetBytes: endBytes, sizeBytes: bytes.byteLength };
    held.set(range.offsetBytes, bytes);
    endBytes += bytes.byteLength;
    return range;
  };
  return { held, share, open: (range: ByteRange) => held.get(range.offsetBytes)! };
}

const image = { id: 'cam-1', width: 2, height: 1, format: 'bgr8' as const, data: Uint8Array.of(1, 2, 3, 4, 5, 6) };

describe('arguments that cross to the model process', () => {
  test('come out as they went in, pictures in several messages included', () => {
    const { share, open, held } = memory();
    const second = { width: 1, height: 1, format: 'rgb8', data: Uint8Array.of(1, 2, 3), id: undefined };
    const request = {
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image', image },
            { type: 'text', text: 'And?' },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'image', image: second },
            { type: 'image', image },
          ],
        },
      ],
    };
    const options = { stop: ['.'], seed: 7, temperature: Number.POSITIVE_INFINITY, topP: undefined };
    const transfer = takeApart([request, options], ['request', 'options'], share);
    expect(putTogether(structuredClone(transfer), open)).toEqual([request, options]);
    expect(held.size).toBe(2); // the same bytes are shared once
  });

  test('take less than a kilobyte of the channel for a frame of 25 MB', () => {
    const large = { ...image, width: 3840, height: 2160, data: new Uint8Array(3840 * 2160 * 3) };
    const transfer = takeApart(
      [large, 'Where?', { maxNewTokens: 5 }],
      ['image', 'question', 'options'],
      memory().share,
    );
    expect(serialize(transfer).byteLength).toBeLessThan(1024);
  });

  test('may hold frames that are instances of a class: what a model reads of them crosses', () => {
    class CameraFrame {
      readonly width = 1;
      readonly height = 1;
      readonly format = 'rgb8';
      readonly data = Uint8Array.of(1, 2, 3);
      release() {}
    }
    const { share, open } = memory();
    const [back] = putTogether(takeApart([new CameraFrame()], ['image'], share), open);
    expect(back).toEqual({ width: 1, height: 1, format: 'rgb8', data: Uint8Array.of(1, 2, 3) });
  });

  test.each([
    ['a function', { onToken: () => {} }, 'options.onToken', 'a function'],
    ['a symbol', { stop: [Symbol('x')] }, 'options.stop[0]', 'a symbol'],
    ['an instance of a class', { schema: z.string() }, 'options.schema', 'an instance of ZodString'],
    ['a Date', { at: new Date(0) }, 'options.at', 'an instance of Date'],
  ])('are refused with their name when they hold %s', (_, options, name, kind) => {
    expect(() => takeApart([options], ['options'], memory().share)).toThrow(
      expect.objectContaining({
        code: 'ERR_ARGUMENT_INVALID',
        message: expect.stringContaining(`${name} but received ${kind}`),
        details: { option: name },
      }),
    );
  });

  test('are refused when they go round in a circle', () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    expect(() => takeApart([circle], ['options'], memory().share)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }),
    );
  });
});
