/**
 * The golden checkpoint `tiny-a` made askable: it has no tokenizer, and its cases are token ids. Here every id gets a
 * name (`<t300>`, which `decode` shows), and a chat template writes the prompt of a case; the number of messages
 * chooses the case.
 */
import { readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ChatMessage, ModelImage } from '#sdk/model/types.js';
import { BYTE_CHARACTERS } from '#sdk/text/byte-level.js';
import { makeTemporaryFolder } from './temporary-folder.js';
import { LLAMA3_PATTERN } from './tiny-tokenizer.js';

const golden = fileURLToPath(new URL('../fixtures/golden', import.meta.url));

export interface GoldenCase {
  readonly name: string;
  readonly input_ids: readonly number[];
  readonly images: readonly { readonly png: string }[];
  readonly decode_tokens: readonly number[];
  readonly alt_zeroed_rows?: { readonly decode_tokens: readonly number[] };
}

export async function readGoldenCase(name: string): Promise<GoldenCase> {
  return JSON.parse(await readFile(join(golden, 'cases-tiny-a', `case_${name}.json`), 'utf8')) as GoldenCase;
}

export function goldenImagePath(png: string): string {
  return join(golden, 'cases-tiny-a', png);
}

const IMAGE_TOKEN_ID = 512;
const tokenName = (id: number) => (id === IMAGE_TOKEN_ID ? '<|image|>' : `<t${id}>`);

/** Ids that an answer's text names. */
export function idsOf(text: string): number[] {
  return Array.from(text.matchAll(/<t(\d+)>/g), ([, id]) => Number(id));
}

/** Messages whose rendering is case `index`: empty ones, with the images in the last. */
export function messagesOf(index: number, images: readonly ModelImage[]): ChatMessage[] {
  const before = Array.from({ length: index }, (): ChatMessage => ({ role: 'user', content: '' }));
  return [...before, { role: 'user', content: images.map((image) => ({ type: 'image', image })) }];
}

export async function writeGoldenModelFolder(cases: readonly GoldenCase[]): Promise<string> {
  const directory = await makeTemporaryFolder('scenebus-golden-');
  const source = join(golden, 'tiny-a');
  for (const file of await readdir(source)) await symlink(join(source, file), join(directory, file));
  // Names win over bytes of the same id: no text is encoded here.
  const vocab = Object.fromEntries(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
  const added_tokens = Array.from({ length: IMAGE_TOKEN_ID + 1 }, (_, id) => ({
    id,
    content: tokenName(id),
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: id === IMAGE_TOKEN_ID,
  }));
  const tokenizer = {
    version: '1.0',
    added_tokens,
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: LLAMA3_PATTERN }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', ignore_merges: true, vocab, merges: [] },
  };
  await writeFile(join(directory, 'tokenizer.json'), JSON.stringify(tokenizer));
  const branches = cases.map(({ input_ids }, index) => {
    const prompt = input_ids.map(tokenName).join('');
    return `{%- ${index === 0 ? 'if' : 'elif'} messages | length == ${index + 1} %}${prompt}`;
  });
  await writeFile(join(directory, 'chat_template.jinja'), `${branches.join('')}{% endif %}`);
  return directory;
}
