/** Folders as transformers and fine-tuning tools really write them. */
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configSchema } from '#sdk/checkpoint/config.js';
import { readGenerationDefaults } from '#sdk/checkpoint/generation-config.js';
import { openCheckpoint, readTensorF32 } from '#sdk/checkpoint/index.js';
import { copyCheckpoint, editJson, editTensors, type FreeJson, GOLDEN, temporaryFolder } from './checkpoint-folder.js';

const HEAD = 'language_model.lm_head.weight';
const EMBEDDINGS = 'language_model.model.embed_tokens.weight';

describe('token ids', () => {
  const defaults = (text: FreeJson, config: FreeJson = {}, file?: FreeJson) => {
    const folder = temporaryFolder();
    if (file !== undefined) writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(file));
    return readGenerationDefaults(folder, configSchema.parse({ model_type: 'mllama', text_config: text, ...config }));
  };

  test('are those of the class where a config by difference leaves them out', async () => {
    expect(await defaults({})).toMatchObject({
      problems: [],
      generation: { bosTokenId: 128_000, eosTokenIds: [128_001], padTokenId: 128_004 },
    });
  });

  test('are those of the class only where nothing else states them', async () => {
    expect((await defaults({}, { bos_token_id: 5, eos_token_id: 6, pad_token_id: 7 })).generation).toMatchObject({
      bosTokenId: 5,
      eosTokenIds: [6],
      padTokenId: 7,
    });
    const { generation } = await defaults({ bos_token_id: 1 }, { bos_token_id: 2 }, { eos_token_id: [3, 4] });
    expect(generation).toMatchObject({ bosTokenId: 1, eosTokenIds: [3, 4], padTokenId: 128_004 });
  });

  test('that a config says there are none of are missing', async () => {
    const { problems } = await defaults({ bos_token_id: null, eos_token_id: null });
    expect(problems).toHaveLength(2);
  });

  test('of the class that a small vocabulary does not hold are refused', async () => {
    expect((await defaults({ vocab_size: 500 })).problems.join()).toContain('128001 lies outside the 508');
  });
});

describe('generation_config.json', () => {
  const read = async (file: FreeJson) => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(file));
    return await readGenerationDefaults(folder, configSchema.parse({ model_type: 'mllama' }));
  };

  test('gives what is implemented as defaults', async () => {
    const { generation, warnings } = await read({
      do_sample: true,
      temperature: 0.7,
      top_p: 0.8,
      top_k: 40,
      min_p: 0.05,
      repetition_penalty: 1.1,
      no_repeat_ngram_size: 3,
      max_new_tokens: 77,
      transformers_version: '4.45.0',
      _from_model_config: true,
      typical_p: 1.0,
      num_beams: 1,
      use_cache: true,
    });
    expect(warnings).toEqual([]);
    expect(generation).toMatchObject({
      doSample: true,
      temperature: 0.7,
      topP: 0.8,
      topK: 40,
      minP: 0.05,
      repetitionPenalty: 1.1,
      noRepeatNgramSize: 3,
      maxNewTokens: 77,
    });
  });

  test('warns by name of what is not', async () => {
    const { warnings } = await read({ num_beams: 4, typical_p: 0.9, bad_words_ids: [[7]], forced_eos_token_id: null });
    expect(warnings).toEqual([
      'generation_config.json: num_beams 4, typical_p 0.9, bad_words_ids [[7]] are not implemented and not honoured',
    ]);
    expect((await read({ something_new: 3 })).warnings.join()).toContain('something_new 3 is not');
  });

  test.each([{ repetition_penalty: 0 }, { top_k: -1 }, { min_p: 2 }, { no_repeat_ngram_size: 1.5 }])(
    'refuses %o',
    async (file) => {
      await expect(read(file)).rejects.toMatchObject({ code: 'ERR_MODEL_INVALID' });
    },
  );
});

describe('config.json', () => {
  const open = async (edit: (config: FreeJson) => void, folder = copyCheckpoint()) => {
    editJson(join(folder, 'config.json'), edit);
    return await openCheckpoint(folder);
  };

  test('may have null for supported_aspect_ratios', async () => {
    const { model } = await open((config) => {
      config.vision_config.supported_aspect_ratios = null;
    });
    expect(model.architecture.vision.supportedAspectRatios).toHaveLength(8);
  });

  test('may state sides as [height, width]', async () => {
    const { model } = await open((config) => {
      config.vision_config.image_size = [56, 56];
      config.vision_config.patch_size = [14, 14];
    });
    expect(model.architecture.vision).toMatchObject({ tileSize: 56, patchSize: 14 });
  });

  test('with tiles that are not square is refused', async () => {
    const opened = open((config) => {
      config.vision_config.image_size = [56, 112];
    });
    await expect(opened).rejects.toThrow('image_size 56×112 is not supported');
  });

  test('may tie lm_head to the embeddings, whose last rows are then none of it', async () => {
    const folder = copyCheckpoint();
    editTensors(join(folder, 'model.safetensors'), (tensors) => {
      tensors.delete(HEAD);
    });
    await expect(openCheckpoint(folder)).rejects.toThrow(`${HEAD} [512, 64] is missing`);
    const { model, warnings } = await open((config) => {
      config.text_config.tie_word_embeddings = true;
    }, folder);
    const head = readTensorF32(model.tensors.get(HEAD)!);
    expect(model.tensors.get(HEAD)!.shape).toEqual([512, 64]);
    expect(head).toEqual(readTensorF32(model.tensors.get(EMBEDDINGS)!).slice(0, 512 * 64));
    expect(warnings).toEqual([]);
  });

  test('that ties a head which the weights have is said', async () => {
    const tied = await open((config) => {
      config.text_config.tie_word_embeddings = true;
    });
    expect(tied.warnings).toEqual([expect.stringContaining('lm_head of their own')]);
    const everywhere = await open((config) => {
      config.tie_word_embeddings = true;
      delete config.text_config.tie_word_embeddings;
    });
    expect(everywhere.warnings).toEqual([]);
  });
});

test('model.safetensors beside an index is read, with a warning', async () => {
  const folder = copyCheckpoint();
  copyFileSync(
    join(GOLDEN, 'tiny-a-bf16', 'model.safetensors.index.json'),
    join(folder, 'model.safetensors.index.json'),
  );
  expect((await openCheckpoint(folder)).warnings).toEqual([expect.stringContaining('model.safetensors is read')]);
  rmSync(join(folder, 'model.safetensors.index.json'));
  expect((await openCheckpoint(folder)).warnings).toEqual([]);
});

describe('a name that is no folder', () => {
  test.each([
    'meta-llama/Llama-3.2-11B-Vision-Instruct',
    'https://huggingface.co/meta-llama/Llama-3.2-11B-Vision-Instruct',
    'hf://meta-llama/Llama-3.2-11B-Vision-Instruct',
  ])('%s is recognised as one of the hub', async (name) => {
    await expect(openCheckpoint(name)).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(/hub.*hf download meta-llama\/Llama-3.2-11B-Vision-Instruct --local-dir models\//),
      details: { hubName: 'meta-llama/Llama-3.2-11B-Vision-Instruct' },
    });
  });

  test('is no hub name when it is a path', async () => {
    for (const path of ['/nothing/here', './nothing/here', '../nothing/here']) {
      await expect(openCheckpoint(path)).rejects.not.toThrow('hub');
    }
  });

  test('is said to be a file when it is one', async () => {
    const file = join(GOLDEN, 'tiny-a', 'model.safetensors');
    await expect(openCheckpoint(file)).rejects.toThrow('It is a file');
  });
});
