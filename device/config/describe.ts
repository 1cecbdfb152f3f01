import { stringify } from 'yaml';
import type { DeviceConfig } from './schema.js';

/** Passwords inside addresses: `rtsp://user:secret@host` becomes `rtsp://user:***@host`. */
export function hideCredentials(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/[^/@:]*):[^/]*@/i, '$1:***@');
}

/** The complete configuration as YAML, secrets hidden: for people and for logs. */
export function describeConfig(config: DeviceConfig): string {
  const { secrets, ...visible } = config;
  const known = Object.entries(secrets).filter(([, value]) => value !== undefined);
  const text = stringify(
    JSON.parse(JSON.stringify(visible, (_, value) => (typeof value === 'string' ? hideCredentials(value) : value))),
  );
  return `${text}${known.map(([name]) => `# ${name}: set`).join('\n')}`.trimEnd();
}
