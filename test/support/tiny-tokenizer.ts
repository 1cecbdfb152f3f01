/**
 * A small byte-level BPE tokenizer.json with Llama 3's pre-tokenizer and special-token names, written by hand-made
 * rules: 256 bytes, the numbers 0–99, and left-to-right merges of a few words.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BYTE_CHARACTERS } from '#sdk/text/byte-level.js';
import { makeTemporaryFolder } from './temporary-folder.js';

export const LLAMA3_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

export const SPECIAL_TOKENS = [
  '<|begin_of_text|>',
  '<|end_of_text|>',
  '<|finetune_right_pad_id|>',
  '<|start_header_id|>',
  '<|end_header_id|>',
  '<|eom_id|>',
  '<|eot_id|>',
  '<|python_tag|>',
  '<|reserved_special_token_0|>',
  '<|image|>',
] as const;

const WORDS = [
  'user',
  'assistant',
  'system',
  ' image',
  ' is',
  ' the',
  ' cup',
  ' red',
  'What',
  '\n\n',
  '{"',
  '":',
  'label',
  'box',
];

/** The JSON of the tokenizer; specials follow the vocabulary, `<|image|>` last, as in the published checkpoint. */
export function tinyTokenizerJson() {
  const vocab: Record<string, number> = {};
  const merges: [string, string][] = [];
  const add = (token: string) => {
    vocab[token] ??= Object.keys(vocab).length;
  };
  for (const character of BYTE_CHARACTERS) add(character);
  const words = [...WORDS, ...Array.from({ length: 90 }, (_, i) => String(i + 10))];
  for (const word of words) {
    const letters = Array.from(Buffer.from(word, 'utf8'), (byte) => BYTE_CHARACTERS[byte]!);
    let left = letters[0]!;
    for (const right of letters.slice(1)) {
      if (!Object.hasOwn(vocab, left + right)) merges.push([left, right]);
      add(left + right);
      left += right;
    }
  }
  const firstSpecial = Object.keys(vocab).length;
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, index) => ({
      id: firstSpecial + index,
      content: content as string,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: LLAMA3_PATTERN }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: {
        '<|begin_of_text|>': { id: '<|begin_of_text|>', ids: [firstSpecial], tokens: ['<|begin_of_text|>'] },
      },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab,
      merges,
    },
  };
}

/** A folder with the tokenizer's files; `files` adds or replaces some (undefined leaves one out). */
export async function writeTokenizerFolder(files: Readonly<Record<string, string | undefined>> = {}): Promise<string> {
  const directory = await makeTemporaryFolder('scenebus-tokenizer-');
  const all: Record<string, string | undefined> = {
    'tokenizer.json': JSON.stringify(tinyTokenizerJson()),
    'tokenizer_config.json': JSON.stringify({ bos_token: '<|begin_of_text|>', eos_token: '<|eot_id|>' }),
    ...files,
  };
  for (const [name, content] of Object.entries(all)) {
    if (content !== undefined) await writeFile(join(directory, name), content);
  }
  return directory;
}
