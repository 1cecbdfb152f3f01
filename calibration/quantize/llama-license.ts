/** What the Llama Community License asks of somebody who hands on a derived model, as far as a program can see to it. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parse } from 'yaml';
import { SdkError } from '#sdk/core/errors.js';

export const LLAMA_NOTICE =
  'Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved.\n';

/** Llama 3.2 Acceptable Use Policy, last paragraph, in short. */
export const LLAMA_EU_NOTICE =
  'The Llama 3.2 licence does not grant its rights to the multimodal models to individuals domiciled in the European Union and companies with their principal place of business there; end users of a product that contains such a model are not affected.';

const TEXT_LIMIT_BYTES = 1 << 20;

/** Names of files that hold a licence: `LICENSE`, `COPYING`, `LLAMA_LICENSE`, `Llama-LICENSE.txt` … */
export const LICENCE_FILE = /licen[cs]e|^copying/i;
export const USE_POLICY_FILE = /^use[_-]?policy/i;

// Markdown puts stars and lines between the words.
const COMMUNITY_LICENCE = /llama[\s*_]+[\d.]+[\s*_]+community[\s*_]+licen[cs]e/i;
const USE_POLICY = /llama[\s*_]+[\d.]+[\s*_]+acceptable[\s*_]+use[\s*_]+policy/i;

/** Why the folder is under the Llama licence, or null. */
export async function llamaLicenseEvidence(directory: string, modelName: string): Promise<string | null> {
  for (const name of (await readdir(directory)).sort()) {
    const evidence = await evidenceIn(join(directory, name), name);
    if (evidence !== null) return evidence;
  }
  for (const name of [modelName, basename(directory)]) if (isLlamaName(name)) return `it is named ${name}`;
  return null;
}

async function evidenceIn(path: string, name: string): Promise<string | null> {
  if (LICENCE_FILE.test(name)) {
    return COMMUNITY_LICENCE.test(await readText(path)) ? `${name} is the Llama Community License` : null;
  }
  if (/^notice/i.test(name)) return COMMUNITY_LICENCE.test(await readText(path)) ? `${name} names it` : null;
  if (USE_POLICY_FILE.test(name)) {
    return USE_POLICY.test(await readText(path)) ? `${name} is the Llama Acceptable Use Policy` : null;
  }
  if (/^readme\.md$/i.test(name)) return evidenceInCard(await readText(path), name);
  if (name !== 'config.json') return null;
  const origin = originIn(await readText(path));
  return isLlamaName(origin) ? `${name} says that it was made from ${origin}` : null;
}

/** A model card begins with YAML between two lines of dashes. */
function evidenceInCard(text: string, name: string): string | null {
  const front = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---/.exec(text)?.[1] ?? '';
  let card: unknown;
  try {
    card = parse(front);
  } catch {
    return /^license(_name)?:\s*['"]?llama/im.test(front) ? `${name} names it` : null;
  }
  const valuesOf = (key: string) =>
    [(card as Record<string, unknown> | null)?.[key]].flat().filter((value) => typeof value === 'string');
  if ([...valuesOf('license'), ...valuesOf('license_name')].some((value) => /^llama/i.test(value))) {
    return `${name} names it`;
  }
  const base = valuesOf('base_model').find(isLlamaName);
  return base === undefined ? null : `${name} says that it was made from ${base}`;
}

function originIn(config: string): string {
  try {
    const origin = (JSON.parse(config) as { _name_or_path?: unknown } | null)?._name_or_path;
    return typeof origin === 'string' ? origin : '';
  } catch {
    return '';
  }
}

/** A name, the hub's `org/name`, or a path, which may lead into a hub client's cache (`models--org--name`). */
function isLlamaName(name: string): boolean {
  return /^(meta-)?llama/i.test(basename(name)) || /(^|\/)meta-llama\/|--meta-llama--/i.test(name);
}

/** '' for what is no file (a folder of licences, a link to nothing) or too long for one. */
async function readText(path: string): Promise<string> {
  const status = await stat(path).catch(() => undefined);
  return status?.isFile() === true && status.size <= TEXT_LIMIT_BYTES ? await readFile(path, 'utf8') : '';
}

/** @throws SdkError ERR_LICENSE_NOT_ACCEPTED */
export function requireAcceptance(evidence: string, accepted: boolean): void {
  if (accepted) return;
  throw new SdkError(
    'ERR_LICENSE_NOT_ACCEPTED',
    `The source is under the Llama Community License (${evidence}). Read its licence and use policy; when you may use it and accept the terms, confirm with --accept-llama-license (acceptLlamaLicense: true). ${LLAMA_EU_NOTICE}`,
    { details: { evidence } },
  );
}

/** @throws SdkError ERR_ARGUMENT_INVALID when the new name does not begin with "Llama" */
export function requireLlamaName(outputDirectory: string): void {
  const name = basename(outputDirectory);
  if (!name.startsWith('Llama')) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `The name of a model derived from Llama must begin with "Llama", but the output folder is "${name}". Call it Llama-${name}.`,
      { details: { outputDirectory } },
    );
  }
}
