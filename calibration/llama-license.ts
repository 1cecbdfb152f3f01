/** What the Llama Community License asks of somebody who hands on a derived model, as far as a program can see to it. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SdkError } from '#sdk/core/errors.js';

export const LLAMA_NOTICE =
  'Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved.\n';

/** Llama 3.2 Acceptable Use Policy, last paragraph, in short. */
export const LLAMA_EU_NOTICE =
  'The Llama 3.2 licence does not grant its rights to the multimodal models to individuals domiciled in the European Union and companies with their principal place of business there; end users of a product that contains such a model are not affected.';

const TEXT_LIMIT_BYTES = 1 << 20;

/** Why the folder is under the Llama licence, or null. */
export async function llamaLicenseEvidence(directory: string, modelName: string): Promise<string | null> {
  for (const name of (await readdir(directory)).sort()) {
    if (
      /^licen[cs]e/i.test(name) &&
      /llama\s+[\d.]+\s+community\s+license/i.test(await readText(join(directory, name)))
    ) {
      return `${name} is the Llama Community License`;
    }
    if (/^readme\.md$/i.test(name) && /^license(_name)?:\s*['"]?llama/im.test(await readText(join(directory, name)))) {
      return `${name} says so`;
    }
  }
  for (const name of [modelName, basename(directory)]) {
    if (/^(meta-)?llama/i.test(name)) return `it is named ${name}`;
  }
  return null;
}

async function readText(path: string): Promise<string> {
  const { size } = await stat(path);
  return size <= TEXT_LIMIT_BYTES ? await readFile(path, 'utf8') : '';
}

/** @throws SdkError ERR_LICENSE_NOT_ACCEPTED, or ERR_ARGUMENT_INVALID when the new name does not begin with "Llama" */
export function requireLlamaTerms(evidence: string, accepted: boolean, outputDirectory: string): void {
  if (!accepted) {
    throw new SdkError(
      'ERR_LICENSE_NOT_ACCEPTED',
      `The source is under the Llama Community License (${evidence}). Read its licence and use policy; when you may use it and accept the terms, say so with --accept-llama-license (acceptLlamaLicense: true). ${LLAMA_EU_NOTICE}`,
      { details: { evidence } },
    );
  }
  const name = basename(outputDirectory);
  if (!name.startsWith('Llama')) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `The name of a model derived from Llama must begin with "Llama", but the output folder is "${name}". Call it Llama-${name}.`,
      { details: { outputDirectory } },
    );
  }
}
