/** What comes along with the weights: tokenizer, templates, processor, licences, scenebus.json. */
import { chmod, copyFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '#sdk/core/logger.js';
import { LICENCE_FILE, LLAMA_NOTICE, USE_POLICY_FILE } from './llama-license.js';

const WEIGHTS =
  /(^adapter_|^(quantize_config|quant_config|hf_quant_config)\.json$|^recipe\.yaml$)|\.(safetensors|safetensors\.index\.json|bin|bin\.index\.json|pth|pt|ckpt|gguf|h5|msgpack|onnx|onnx_data)$/;

/**
 * Copies everything beside the weights and config.json; of a Llama model also a notice. What describes an adapter or
 * another tool's quantisation stays: it would send other programs to weights that are not these.
 */
export async function copyCompanions(source: string, target: string, isLlama: boolean, logger: Logger): Promise<void> {
  const copied: string[] = [];
  for (const name of (await readdir(source)).sort()) {
    if (name.startsWith('.') || name === 'config.json' || WEIGHTS.test(name)) continue;
    const path = join(source, name);
    const status = await stat(path).catch(() => undefined);
    if (status?.isFile() !== true) continue; // a folder, or a link to nothing
    const copy = join(target, name);
    // A copy has the rights of its source: a run that goes on could not write it again where they forbid it.
    await rm(copy, { force: true });
    await copyFile(path, copy);
    await chmod(copy, (status.mode & 0o777) | 0o600);
    copied.push(name);
  }
  if (!isLlama) return;
  if (!copied.some((name) => LICENCE_FILE.test(name))) {
    logger.log('warn', 'The source has no licence file; the Llama licence asks to hand its text on with the weights.');
  }
  if (!copied.some((name) => USE_POLICY_FILE.test(name))) {
    logger.log('warn', 'The source has no USE_POLICY file; the Llama licence asks users to follow that policy.');
  }
  if (!copied.includes('NOTICE')) await writeFile(join(target, 'NOTICE'), LLAMA_NOTICE);
}
