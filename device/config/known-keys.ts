import { nearestName } from 'scenebus/service';
import { z } from 'zod';
import { deviceConfigSchema } from './schema.js';

/** `Unrecognized key "qeueLength": did you mean queueLength?`, else what is known there. */
export function unknownKeyMessage(path: readonly PropertyKey[], key: string): string {
  const known = knownKeys(path);
  const nearest = nearestName(key, known);
  if (nearest !== undefined) return `Unrecognized key "${key}": did you mean ${nearest}?`;
  return `Unrecognized key "${key}"${known.length === 0 ? '' : `: known here are ${known.join(', ')}`}`;
}

function knownKeys(path: readonly PropertyKey[]): string[] {
  let node = z.toJSONSchema(deviceConfigSchema, {
    io: 'input',
    unrepresentable: 'any',
  }) as z.core.JSONSchema.JSONSchema;
  for (const step of path) {
    const next = typeof step === 'number' ? node.items : node.properties?.[String(step)];
    if (next === undefined || typeof next !== 'object' || Array.isArray(next)) return [];
    node = next;
  }
  return Object.keys(node.properties ?? {});
}
