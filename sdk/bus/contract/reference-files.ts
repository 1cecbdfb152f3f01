/** Every generated form of the contract as files, for `scenebus bus schema --out` and for the repository. */
import { type AsyncApiOptions, asyncApiDocument } from './asyncapi.js';
import { busJsonSchemas } from './json-schema.js';
import { contractReference } from './reference.js';

/** Relative path to content. */
export function contractFiles(options: AsyncApiOptions = {}): ReadonlyMap<string, string> {
  const files = new Map([
    ['README.md', contractReference()],
    ['asyncapi.json', json(asyncApiDocument(options))],
  ]);
  for (const [name, schema] of busJsonSchemas()) files.set(`schemas/${name}.json`, json(schema));
  return files;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
