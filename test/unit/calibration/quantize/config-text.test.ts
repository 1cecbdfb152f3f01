import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseKeepingNumbers, stringifyKeepingNumbers } from '#calibration/quantize/json-text.js';
import { quantizeCheckpoint } from '#calibration/quantize/quantize.js';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import { copyCheckpoint, editTensors, temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

describe('JSON whose numbers keep their text', () => {
  test('comes back as it was, whatever is in its strings', () => {
    const value = `{
  "factor": 8.0,
  "eps": 1e-05,
  "big": 12345678901234567890,
  "list": [
    -0.0,
    1E+2,
    3
  ],
  "text": "8.0 \\"9.0\\" \\\\",
  "7.0": "\\u0000number:x",
  "none": null
}`;
    expect(stringifyKeepingNumbers(parseKeepingNumbers(value))).toBe(value);
  });

  test('says what is no JSON', () => {
    expect(() => parseKeepingNumbers('{"a": 01}')).toThrow(SyntaxError);
  });
});

describe('config.json of a quantised folder', () => {
  test('keeps 8.0 a float', async () => {
    const source = copyCheckpoint();
    const text = readFileSync(join(source, 'config.json'), 'utf8');
    expect(text).toContain('"factor": 8.0,');
    const output = join(temporaryFolder(), 'out');
    await quantizeCheckpoint({ source, output, groupSize: 64 });
    const written = readFileSync(join(output, 'config.json'), 'utf8');
    const numbers = (json: string) => json.match(/: -?\d[^,\n]*/g)!;
    expect(numbers(written).slice(0, numbers(text).length)).toEqual(numbers(text));
    expect(written).toContain('"rms_norm_eps": 1e-05,');
  });

  test('no longer ties the head, which is a tensor of its own then', async () => {
    const source = copyCheckpoint();
    const path = join(source, 'config.json');
    const config = readFileSync(path, 'utf8').replace('"tie_word_embeddings": false', '"tie_word_embeddings": true');
    writeFileSync(path, config);
    editTensors(join(source, 'model.safetensors'), (tensors) => {
      tensors.delete('language_model.lm_head.weight');
    });
    const output = join(temporaryFolder(), 'out');
    await quantizeCheckpoint({ source, output, groupSize: 64 });
    expect(JSON.parse(readFileSync(join(output, 'config.json'), 'utf8')).text_config.tie_word_embeddings).toBe(false);
    const { model, warnings } = await openCheckpoint(output);
    const [head, table] = ['lm_head.weight', 'model.embed_tokens.weight'].map((name) =>
      readTensorF32(model.tensors.get(`language_model.${name}`)!),
    );
    expect(head).toEqual(table!.slice(0, head!.length));
    expect(warnings).toEqual([]);
  });
});
