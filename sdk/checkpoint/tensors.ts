/** Lays the architecture's list of tensors beside what the files hold, and says everything that differs. */
import type { MllamaArchitecture, TensorDtype, TensorLocation } from '../architecture/architecture.js';
import { type ExpectedTensor, expectedTensors } from './expected-tensors.js';
import type { Quantization, WeightScheme } from './quantization.js';
import type { Weights } from './shards.js';
import { publishedTensorName } from './tensor-names.js';

const FLOATS: readonly string[] = ['F32', 'F16', 'BF16'];

interface Check {
  readonly found: Map<string, TensorLocation>;
  readonly used: Map<string, TensorLocation>;
  readonly problems: string[];
}

export function resolveTensors(
  weights: Weights,
  architecture: MllamaArchitecture,
  quantization: Quantization | null,
  /** Whether lm_head may be the embedding table, and whether the text part itself says that it is. */
  tied: { readonly allowed: boolean; readonly stated: boolean } = { allowed: false, stated: false },
): { tensors: Map<string, TensorLocation>; problems: string[]; warnings: string[] } {
  const check: Check = { found: new Map(), used: new Map(), problems: [] };
  const rawNames = new Map<string, string>();
  for (const [raw, { file, entry }] of weights.tensors) {
    const name = publishedTensorName(raw);
    if (name === null) continue;
    const other = rawNames.get(name);
    if (other !== undefined) {
      check.problems.push(`tensors ${other} and ${raw} are the same tensor under two names`);
      continue;
    }
    rawNames.set(name, raw);
    const { dtype, shape, offsetBytes, sizeBytes } = entry;
    check.found.set(name, { file: file.path, offsetBytes, sizeBytes, dtype: dtype as TensorDtype, shape });
  }
  const warnings = tied.allowed ? tieHead(check, architecture, tied.stated) : [];
  const packedElsewhere: string[] = [];
  for (const expected of expectedTensors(architecture)) {
    const packedName = `${expected.name}_packed`;
    const isPacked = check.found.has(packedName);
    if (isPacked && check.found.has(expected.name)) {
      check.problems.push(`${expected.name} comes both packed and unpacked`);
    } else if (isPacked && !expected.quantizable) {
      packedElsewhere.push(expected.name);
    } else if (isPacked && quantization === null) {
      check.problems.push(`${packedName} exists, but config.json has no quantization_config`);
    } else if (isPacked && quantization !== null) {
      const raw = rawNames.get(packedName)!;
      const scheme = quantization.schemeOf([raw, packedName].map((name) => name.replace(/\.weight_packed$/, '')));
      if (scheme !== undefined) takePacked(check, expected, scheme);
      else check.problems.push(`${packedName} exists, but no target of quantization_config names it`);
    } else {
      take(check, expected.name, expected.shape, FLOATS);
    }
  }
  if (packedElsewhere.length > 0) {
    const more = packedElsewhere.length === 1 ? '' : ` and ${packedElsewhere.length - 1} more`;
    check.problems.push(
      `${packedElsewhere[0]}${more} are packed, but only the linears of the text decoder may be: \`scenebus quantize --from compressed-tensors\` brings the others back to 16 bits`,
    );
  }
  if (
    quantization !== null &&
    check.problems.length === 0 &&
    ![...check.used.keys()].some((n) => n.endsWith('.weight_packed'))
  ) {
    check.problems.push('config.json has a quantization_config, but no tensor is packed');
  }
  return { tensors: check.used, problems: check.problems, warnings };
}

const HEAD = 'language_model.lm_head.weight';
const EMBEDDINGS = 'language_model.model.embed_tokens.weight';

/** `tie_word_embeddings`: the head is the embedding table without the rows of the tokens that are never written. */
function tieHead(check: Check, { text }: MllamaArchitecture, isStated: boolean): string[] {
  if (check.found.has(HEAD) || check.found.has(`${HEAD}_packed`)) {
    const differs =
      'config.json says tie_word_embeddings, but the weights have an lm_head of their own: that one is used';
    return isStated ? [differs] : [];
  }
  const table = check.found.get(EMBEDDINGS);
  if (table === undefined || table.shape.length !== 2 || table.shape[0]! < text.vocabularySize) return [];
  const sizeBytes = (table.sizeBytes / table.shape[0]!) * text.vocabularySize;
  check.found.set(HEAD, { ...table, sizeBytes, shape: [text.vocabularySize, table.shape[1]!] });
  return [];
}

function take(check: Check, name: string, shape: readonly number[] | null, dtypes: readonly string[]): void {
  const tensor = check.found.get(name);
  if (tensor === undefined) {
    check.problems.push(`tensor ${name}${shape === null ? '' : ` [${shape.join(', ')}]`} is missing`);
    return;
  }
  if (shape !== null && (tensor.shape.length !== shape.length || tensor.shape.some((side, i) => side !== shape[i]))) {
    check.problems.push(
      `tensor ${name}: config.json implies [${shape.join(', ')}], the file has [${tensor.shape.join(', ')}]`,
    );
    return;
  }
  if (!dtypes.includes(tensor.dtype)) {
    check.problems.push(`tensor ${name}: expected ${dtypes.join(' or ')}, the file has ${tensor.dtype}`);
    return;
  }
  check.used.set(name, tensor);
}

/** weight_packed I32 [N, K·bits/32], weight_scale [N, K/group] or [N, 1], weight_shape [2]. */
function takePacked(check: Check, { name, shape }: ExpectedTensor, scheme: WeightScheme): void {
  const [outputs, inputs] = shape as [number, number];
  const groupSize = scheme.groupSize === 0 ? inputs : scheme.groupSize;
  if (inputs % groupSize !== 0) {
    check.problems.push(`${name}: ${inputs} inputs do not divide into groups of ${groupSize}`);
    return;
  }
  for (const suffix of ['zero_point', 'g_idx']) {
    if (check.found.has(`${name}_${suffix}`)) {
      check.problems.push(`${name}_${suffix} is not supported: only symmetric weights in plain order`);
    }
  }
  take(check, `${name}_packed`, [outputs, (inputs * scheme.bits) / 32], ['I32']);
  take(check, `${name}_scale`, [outputs, inputs / groupSize], FLOATS);
  take(check, `${name}_shape`, [2], ['I64', 'I32']);
}
