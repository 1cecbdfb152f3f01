import { z } from 'zod';
import { descriptionSettings, prompt } from './fields.js';

export const describeSchema = z
  .strictObject({
    prompt: prompt
      .optional()
      .meta({ title: 'What a description is asked for', description: "Left out: the model folder's own prompt" }),
    minIntervalSeconds: descriptionSettings.minIntervalSeconds
      .default(2)
      .meta({ title: 'Shortest pause between descriptions' }),
    maxSilenceSeconds: descriptionSettings.maxSilenceSeconds
      .default(60)
      .meta({ title: 'Longest silence', description: 'An unchanged scene is described again after it' }),
    change: z
      .strictObject({
        mean: descriptionSettings.level.default(4).meta({ title: 'Change of the whole picture' }),
        block: descriptionSettings.level.default(16).meta({ title: 'Change of some part of it' }),
      })
      .prefault({})
      .meta({ title: 'Change that counts', description: 'Mean difference in grey levels, 0–255' }),
    maxNewTokens: z.int().min(1).max(4_096).default(256).meta({ title: 'Longest description, tokens' }),
    objects: z.boolean().default(true).meta({
      title: 'Boxes in descriptions',
      description: 'true: where the model writes boxes, it also lists what it sees',
    }),
    verify: z.boolean().default(false).meta({
      title: 'Verify boxes',
      description: 'true: as in `ask`, for the boxes of every description',
    }),
    expirySeconds: z.int().min(1).max(86_400).default(300).meta({ title: 'Life of a description on the broker' }),
  })
  .meta({ title: 'Descriptions', description: 'For all cameras; each may have some of its own' });

export const askSchema = z
  .strictObject({
    timeoutMs: z.int().min(100).max(600_000).default(120_000).meta({ title: 'Deadline of a question that names none' }),
    queueLength: z.int().min(1).max(256).default(8).meta({ title: 'Questions that may wait' }),
    perCaller: z
      .strictObject({
        requestsPerSecond: z.number().min(0.1).max(1_000).default(20).meta({ title: 'Requests a second' }),
        burst: z.int().min(1).max(10_000).default(40).meta({ title: 'Requests at once' }),
      })
      .prefault({})
      .meta({ title: 'Limits of one caller', description: 'More is answered with ERR_BUSY' }),
    maxNewTokens: z.int().min(1).max(4_096).default(256).meta({ title: 'Longest answer, tokens' }),
    verify: z.boolean().default(false).meta({
      title: 'Verify boxes',
      description:
        'true: the model is asked about the cut-out of each box, unless the request says otherwise; each takes as long as a question about a new picture',
    }),
    staleSeconds: z
      .number()
      .min(0.1)
      .max(86_400)
      .default(10)
      .meta({ title: 'Age from which a picture is old', description: 'Answers about older ones say so in `notices`' }),
    stale: z.enum(['answer', 'refuse']).default('answer').meta({
      title: 'Questions about old pictures',
      description: 'answer: with the age in `notices`; refuse: ERR_CAPTURE_TIMEOUT, also for clips that have ended',
    }),
  })
  .meta({ title: 'Questions' });
