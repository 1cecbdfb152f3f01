/** What is made from the schemas: that other tools take it, and that what lies in the repository is up to date. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Parser } from '@asyncapi/parser';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { contractFiles } from '#sdk/bus/contract/reference-files.js';
import {
  asyncApiDocument,
  busJsonSchema,
  busJsonSchemas,
  busSchemas,
  CHANNELS,
  FLEET_CHANNELS,
  parseTopic,
} from '#sdk/bus/index.js';

const REFERENCE = fileURLToPath(new URL('../../../../sdk/bus/contract/reference/', import.meta.url));

describe('JSON Schemas', () => {
  test('compile in ajv as they are printed, together, in strict mode', () => {
    const ajv = new Ajv2020({ strict: true });
    for (const schema of busJsonSchemas().values()) ajv.addSchema(JSON.parse(JSON.stringify(schema)));
    for (const schema of busJsonSchemas().values()) expect(ajv.getSchema(String(schema.$id))).toBeTypeOf('function');
  });

  test('judge like the schemas that the SDK uses', () => {
    const ajv = new Ajv2020({ strict: true });
    const ask = ajv.compile(busJsonSchema('ask'));
    const cases: readonly [boolean, object][] = [
      [true, { question: 'Who?' }],
      [true, { question: 'Who?', answerType: 'choice', choices: ['a', 'b'], priority: 'high', stream: true }],
      [true, { question: 'Who?', answerSchema: { type: 'object' } }],
      [false, { question: 'Who?', qestion: 1 }],
      [false, { question: 'Who?', timeoutMs: 0.5 }],
      [false, { question: 'Who?', camera: 'a/b' }],
      [false, {}],
    ];
    for (const [isRight, value] of cases) {
      expect(ask(value), JSON.stringify(value)).toBe(isRight);
      expect(busSchemas.ask.safeParse(value).success, JSON.stringify(value)).toBe(isRight);
    }
  });

  test('are open where a newer device may add fields, and closed for requests', () => {
    expect(JSON.stringify(busJsonSchema('scene'))).not.toContain('"additionalProperties":false');
    expect(busJsonSchema('ask').additionalProperties).toBe(false);
  });
});

describe('the AsyncAPI document', () => {
  test('is one in the eyes of the real parser', async () => {
    const { document, diagnostics } = await new Parser().parse(JSON.stringify(asyncApiDocument({ version: '1.2.3' })));
    // Severity 0 is an error, 1 a warning; what is left are hints about contact and tags.
    expect(diagnostics.filter(({ severity }) => severity <= 1)).toEqual([]);
    expect(document?.version()).toBe('3.0.0');
    expect(document?.channels().length).toBe(CHANNELS.length + FLEET_CHANNELS.length);
    expect(document?.operations().get('receive-askRequest')?.reply()?.channel()?.address()).toBe(
      'scenebus/{device}/response/ask',
    );
  });

  test('has an address for every topic that is parsed, and the other way round', () => {
    const kinds = CHANNELS.map(({ address }) => {
      const filled = address.replace('{setting}', 'privacy').replace(/\{\w+\}/g, 'x');
      return parseTopic('scenebus', `scenebus/dev/${filled}`)?.kind;
    });
    expect(kinds).not.toContain(undefined);
    expect(new Set(kinds)).toEqual(
      new Set([
        'availability',
        'info',
        'health',
        'camera-status',
        'camera-scene',
        'camera-event',
        'camera-setting',
        'setting-command',
        'watch-state',
        'request',
        'response',
      ]),
    );
  });
});

describe('the files in sdk/bus/contract/reference', () => {
  test('are what the schemas say now: node dist/device/cli/main.js bus schema --out sdk/bus/contract/reference', () => {
    const expected = contractFiles();
    const found = readdirSync(REFERENCE, { recursive: true, encoding: 'utf8' }).filter((name) =>
      /\.(md|json)$/.test(name),
    );
    expect(found.sort()).toEqual([...expected.keys()].sort());
    for (const [name, content] of expected) expect(readFileSync(`${REFERENCE}${name}`, 'utf8'), name).toBe(content);
  });
});
