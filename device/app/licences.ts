/** The terms of this product and of the model that it runs. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  LICENCE_FILE,
  LLAMA_EU_NOTICE,
  LLAMA_NOTICE,
  llamaLicenseEvidence,
  USE_POLICY_FILE,
} from '#calibration/quantize/index.js';
import type { Licences, LicenceText } from '../console/context.js';
import { topFile } from '../platform/repository-files.js';

const MAX_TEXT_BYTES = 256 * 1024;
const MAX_TEXTS = 8;

/** Llama 3.2 Community License, sections 1.b and 2, in short. */
const LLAMA_DUTIES: readonly string[] = [
  'Show "Built with Llama" prominently where the product is described: user interface, about page, documentation.',
  `Keep a NOTICE file that says: ${LLAMA_NOTICE.trim()}`,
  'Hand on the text of the licence with the weights.',
  'Begin the name of a model that is derived from it with "Llama".',
  'Follow the Acceptable Use Policy.',
  'Ask Meta for a licence above 700 million monthly active users.',
  LLAMA_EU_NOTICE,
];

/** Reads only files whose names are those of licences, in the folder of the model and in this package. */
export async function licences(modelDirectory: string, modelName: string | undefined): Promise<Licences> {
  const names = (await readdir(modelDirectory).catch(() => [])).sort();
  const wanted = names.filter((name) => LICENCE_FILE.test(name) || USE_POLICY_FILE.test(name) || /^notice/i.test(name));
  const name = modelName ?? basename(modelDirectory);
  const llama = await llamaLicenseEvidence(modelDirectory, name).catch(() => null);
  return {
    product: await texts(topFile('NOTICE'), topFile('LICENSE')),
    model: {
      llama,
      texts: await texts(...wanted.slice(0, MAX_TEXTS).map((each) => join(modelDirectory, each))),
      duties: llama === null ? [] : LLAMA_DUTIES,
    },
  };
}

async function texts(...files: readonly string[]): Promise<LicenceText[]> {
  const found: LicenceText[] = [];
  for (const file of files) {
    const entry = await stat(file).catch(() => undefined);
    if (entry?.isFile() !== true || entry.size > MAX_TEXT_BYTES) continue;
    found.push({ name: basename(file), text: await readFile(file, 'utf8') });
  }
  return found;
}
