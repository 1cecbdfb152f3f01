/** What several sections say in the same way. */
import { LIMITS } from 'scenebus';
import { z } from 'zod';

const TOPIC_LEVEL = /^[^/+#$\s]{1,64}$/;
export const topicLevel = z.string().regex(TOPIC_LEVEL, 'Expected 1 to 64 characters without / + # $ and spaces');

export const topicLevels = z
  .string()
  .max(255)
  .regex(/^[^/+#$\s]{1,64}(\/[^/+#$\s]{1,64})*$/, 'Expected topic levels separated by /');

export const filePath = z.string().min(1);

export const prompt = z.string().trim().min(1).max(LIMITS.questionCharacters);

/** What can be said for all cameras and for one. */
export const descriptionSettings = {
  minIntervalSeconds: z.number().min(0).max(86_400),
  maxSilenceSeconds: z.number().min(1).max(86_400),
  /** Grey levels. */
  level: z.number().min(0).max(255),
};
