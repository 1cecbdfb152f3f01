import { z } from 'zod';
import { filePath } from './fields.js';
import { remoteModelSchema } from './remote-model.js';

export const modelSchema = z
  .strictObject({
    directory: filePath.meta({ title: 'Model folder', description: 'Relative to this file' }),
    backend: z.enum(['auto', 'tensorrt', 'onnx', 'cpu']).default('auto').meta({
      title: 'Backend',
      description: 'auto: TensorRT where it is installed and passes its self-test, else the processor',
    }),
    numerics: z.enum(['meta', 'hf-4.45', 'hf-5']).default('meta').meta({
      title: 'Numerics',
      description:
        'meta: as trained by Meta; the others reproduce releases of transformers, for fine-tunes made with them',
    }),
    quantize: z
      .enum(['none', 'int4'])
      .default('none')
      .meta({ title: 'Quantise at first start', description: 'int4: into the cache folder, once; the source stays' }),
    acceptLlamaLicense: z.boolean().default(false).meta({
      title: 'Llama licence accepted',
      description: 'Needed to quantise a model under the Llama Community License: its owner has read and accepts it',
    }),
    isolation: z.enum(['process', 'none']).default('process').meta({
      title: 'Isolation',
      description:
        'process: the model runs in a process of its own, which is killed and restarted when it crashes or hangs; none: inside the service, which then crashes with it',
    }),
    grounder: z.enum(['auto', 'text', 'attention']).default('auto').meta({
      title: 'Boxes',
      description:
        'text: those that the model writes; attention: from where it looks, once scenebus calibrate-grounding has found its heads; auto: the first that the model has',
    }),
    contextLength: z.int().min(16).max(131_072).optional().meta({ title: 'Context length, tokens' }),
    keyValueType: z.enum(['f16', 'int8', 'f32']).optional().meta({
      title: 'Numbers in the K/V caches',
      description:
        'Of the backend cpu; others have one kind. int8: half the memory of f16, for long contexts and many pictures; answers may differ in close calls',
    }),
    threads: z.int().min(1).max(256).optional().meta({ title: 'Threads', description: 'Default: the physical cores' }),
    remote: remoteModelSchema.optional(),
    cacheDirectory: filePath.optional().meta({ title: 'Cache folder', description: 'Default: ~/.cache/scenebus' }),
  })
  .meta({ title: 'Model' });
