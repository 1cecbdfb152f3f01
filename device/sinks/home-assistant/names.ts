/** Names that Home Assistant takes: ids of devices and entities, made of names that may be anything. */
import { createHash } from 'node:crypto';
import { DEFAULT_ROOT } from 'scenebus/bus';

/** Longer ones, of names outside of ASCII, are told apart by a hash. */
const MAX_CHARACTERS = 128;

/**
 * Letters, digits, `-` and `_` only ("Discovery topic" of Home Assistant's MQTT documentation), and different for
 * different parts: each byte that is something else becomes `_` and two hexadecimal digits, so `__` is in no part.
 */
export function idOf(...parts: readonly string[]): string {
  return parts.map(encode).join('__');
}

/** The id of a device, in the topic of its discovery message and in its entities. */
export function deviceIdOf(root: string, device: string): string {
  return root === DEFAULT_ROOT ? idOf('scenebus', device) : idOf('scenebus', root, device);
}

/** For people: the part of an entity's id behind the dot. Need not be unique, Home Assistant numbers them. */
export function slugOf(...parts: readonly string[]): string {
  const slug = parts
    .join('_')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '');
  return slug || 'scenebus';
}

function encode(part: string): string {
  const text = Buffer.from(part)
    .toString('latin1')
    .replace(/[^A-Za-z0-9-]/g, (byte) => `_${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
  if (text.length <= MAX_CHARACTERS) return text;
  // `_x` is no escape, so no short name becomes this.
  return `_x${createHash('sha256').update(part).digest('hex')}`;
}
