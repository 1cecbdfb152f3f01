import { z } from 'zod';
import { filePath } from './fields.js';

export const journalSchema = z
  .strictObject({
    enabled: z.boolean().default(true).meta({
      title: 'Journal',
      description: 'false: nothing is written to a disk; what waits for the broker is lost with a restart',
    }),
    directory: filePath.optional().meta({
      title: 'Folder',
      description:
        'Relative to this file. Default: $STATE_DIRECTORY, $XDG_STATE_HOME/scenebus or ~/.local/state/scenebus',
    }),
    frames: z.boolean().default(false).meta({
      title: 'Pictures',
      description: 'true: keeps a JPEG of every frame that is described or asked about',
    }),
    maxAgeDays: z.number().min(0.01).max(3_650).default(30).meta({ title: 'Oldest event, days' }),
    maxMegabytes: z.int().min(1).max(1_000_000).default(512).meta({
      title: 'Largest file, MB',
      description: 'The oldest pictures go first, then the oldest events',
    }),
    waiting: z
      .strictObject({
        maxEvents: z.int().min(1).max(100_000).default(10_000),
        maxMegabytes: z.int().min(1).max(1_024).default(16),
        maxAgeHours: z.number().min(0.01).max(8_760).default(24),
        maxPerSecond: z.number().min(1).max(10_000).default(200).meta({ description: 'When the broker is back' }),
      })
      .prefault({})
      .meta({ title: 'What waits for the broker', description: 'Answers and events; what is dropped is counted' }),
  })
  .meta({ title: 'Journal of events' });
