/** Weights that were saved with PEFT's wrappers around them: base and adapter in the same files. */
import { resolve } from 'node:path';
import type { TensorDtype, TensorLocation } from '#sdk/architecture/architecture.js';
import { ADAPTER_CONFIG, findAdapter, unmergedProblem } from '#sdk/checkpoint/adapter.js';
import { hashOf, nameOf, readConfig } from '#sdk/checkpoint/checkpoint.js';
import { architectureOf } from '#sdk/checkpoint/config.js';
import { expectedTensors } from '#sdk/checkpoint/expected-tensors.js';
import { readManifest } from '#sdk/checkpoint/manifest.js';
import { readWeights } from '#sdk/checkpoint/shards.js';
import { publishedTensorName } from '#sdk/checkpoint/tensor-names.js';
import { SdkError } from '#sdk/core/errors.js';
import type { CallOptions } from '#sdk/core/types.js';
import type { Source } from '../sources/open-source.js';
import { type SourceTensor, storedTensor } from '../sources/source-tensor.js';
import { type Adapter, adapterFrom } from './adapter.js';

/** @returns null for a folder whose weights are plain */
export async function openUnmerged(
  directory: string,
  options: CallOptions,
): Promise<{ source: Source; adapter: Adapter } | null> {
  options.signal?.throwIfAborted();
  const root = resolve(directory);
  const config = await readConfig(root, directory);
  const weights = await readWeights(root);
  if (unmergedProblem(weights.tensors.keys()) === null) return null;
  const found = await findAdapter(root);
  if (found === null) {
    throw new SdkError(
      'ERR_MODEL_NOT_FOUND',
      `Expected ${ADAPTER_CONFIG} beside the unmerged adapter in ${root}, which states its scale (lora_alpha), but there is none.`,
      { details: { directory: root } },
    );
  }
  const { architecture, problems } = architectureOf(config);
  problems.push(...weights.problems);
  const own = new Map<string, TensorLocation>();
  const base = new Map<string, TensorLocation>();
  for (const [raw, { file, entry }] of weights.tensors) {
    const { dtype, shape, offsetBytes, sizeBytes } = entry;
    const location = { file: file.path, dtype: dtype as TensorDtype, shape, offsetBytes, sizeBytes };
    if (/\.(lora_|modules_to_save\.)/.test(raw)) own.set(raw, location);
    else {
      const plain = raw.replace(/^base_model\.model\./, '').replace(/\.(base_layer|original_module)\./, '.');
      const name = publishedTensorName(plain);
      if (name !== null) base.set(name, location);
    }
  }
  const tensors = new Map<string, SourceTensor>();
  for (const { name, shape } of expectedTensors(architecture)) {
    const location = base.get(name);
    if (location === undefined) problems.push(`tensor ${name} [${shape.join(', ')}] is missing`);
    else if (JSON.stringify(location.shape) !== JSON.stringify(shape) || !/^(F32|B?F16)$/.test(location.dtype)) {
      problems.push(
        `tensor ${name}: expected floats [${shape.join(', ')}], the file has ${location.dtype} [${location.shape.join(', ')}]`,
      );
    } else tensors.set(name, storedTensor(location));
  }
  if (problems.length > 0) {
    throw new SdkError(
      'ERR_MODEL_INVALID',
      [`${root} is not a sound unmerged checkpoint:`, ...problems.slice(0, 20).map((problem) => `  - ${problem}`)].join(
        '\n',
      ),
      { details: { directory: root, problems } },
    );
  }
  const contentHash = () => hashOf(config, weights.files);
  const source = {
    directory: root,
    name: nameOf(root, config, await readManifest(root)),
    architecture,
    tensors,
    warnings: weights.warnings,
    checkpoint: null,
    contentHash,
  };
  return { source, adapter: adapterFrom(root, found.config, own, architecture, await contentHash()) };
}
