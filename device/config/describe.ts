import { redact } from 'scenebus/service';
import { stringify } from 'yaml';
import type { DeviceConfig } from './schema.js';

/** The complete configuration as YAML, secrets hidden: for people and for logs. */
export function describeConfig(config: DeviceConfig): string {
  const { secrets, ...visible } = config;
  const known = Object.entries(secrets).filter(([, value]) => value !== undefined);
  const text = stringify(
    JSON.parse(JSON.stringify(visible, (_, value) => (typeof value === 'string' ? redact(value) : value))),
  );
  return `${text}${known.map(([name]) => `# ${name}: set`).join('\n')}`.trimEnd();
}
