import { isSdkError } from 'scenebus';
import { requireRemoteAddress } from 'scenebus/service';
import { z } from 'zod';
import { filePath } from './fields.js';

const share = z.number().min(0).max(1);

export const remoteModelSchema = z
  .strictObject({
    url: z.string().max(2_048).meta({
      title: 'Address',
      description: 'Of an OpenAI-compatible API, as a rule with /v1 at its end; https, but for this machine itself',
    }),
    model: z.string().min(1).max(200).meta({ title: 'Model', description: 'What the server calls it' }),
    keyFile: filePath.optional().meta({
      title: 'File with the key',
      description: 'Relative to this file. SCENEBUS_REMOTE_KEY wins',
    }),
    caFile: filePath.optional().meta({
      title: 'Certificates',
      description: "Of whoever signed the server's; left out: those that Node knows",
    }),
    allowHttp: z.boolean().default(false).meta({
      title: 'Without TLS',
      description: 'true: http:// may lead to other machines, where everybody on the way can see pictures and key',
    }),
    pictures: z
      .strictObject({
        send: z.literal(true).meta({ title: 'Sent', description: 'true: pictures of the cameras go to that server' }),
        jpegQuality: z.int().min(1).max(100).default(90).meta({ title: 'JPEG quality' }),
        tileSize: z.int().min(14).max(4_096).default(560).meta({ title: 'Tile of the remote model, pixels' }),
        maxTiles: z.int().min(1).max(64).default(4).meta({ title: 'Its tiles at most' }),
      })
      .meta({
        title: 'Pictures',
        description: 'Without it there is no remote model: every question of a device is about a picture',
      }),
    minimumProbability: share.optional().meta({
      title: 'Sure enough',
      description:
        'The remote model is asked where the local one finds its own answer less probable; text then comes when it is whole. Left out: never for that',
    }),
    maximumWaiting: z.int().min(1).max(64).optional().meta({
      title: 'Long queue',
      description:
        'The remote model is asked first where so many wait for the local one. Left out: only what is refused',
    }),
    priorities: z
      .array(z.enum(['urgent', 'question', 'watch', 'description']))
      .min(1)
      .max(4)
      .default(['urgent', 'question'])
      .meta({ title: 'What may go there', description: 'Descriptions and watches are asked all day' }),
    timeoutMs: z.int().min(100).max(600_000).default(30_000).meta({ title: 'Longest wait for an answer' }),
  })
  .superRefine(({ url, allowHttp, minimumProbability, maximumWaiting }, context) => {
    try {
      requireRemoteAddress(url, allowHttp);
    } catch (error) {
      if (!isSdkError(error)) throw error;
      context.addIssue({ code: 'custom', path: ['url'], message: error.message });
    }
    if (minimumProbability !== undefined || maximumWaiting !== undefined) return;
    const message = 'Expected minimumProbability, maximumWaiting or both: without either nothing is asked of it';
    context.addIssue({ code: 'custom', path: [], message });
  })
  .meta({
    title: 'Remote model',
    description:
      'On another machine, for what the local one is not sure of or has no time for; the local one answers while it is away. Left out: there is none',
  });
