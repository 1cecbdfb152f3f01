/** What comes from the environment: `${SCENEBUS_…}` inside strings of the file, and the broker's credentials. */
import { SdkError } from 'scenebus';

export type Environment = Readonly<Record<string, string | undefined>>;

const REFERENCE = /\$\{([^}]*)\}/g;
const NAME = /^SCENEBUS_[A-Z0-9_]+$/;

/**
 * Replaces `${SCENEBUS_NAME}` in every string of a parsed file, so that a camera's password need not stand in it:
 * `rtsp://viewer:${SCENEBUS_CAMERA_PASSWORD}@10.0.0.7/stream`. Only names that begin with SCENEBUS_ are read.
 * @throws SdkError ERR_CONFIG_INVALID for a variable that is not set or has another name.
 */
export function expandEnvironment(value: unknown, environment: Environment): unknown {
  if (typeof value === 'string') return value.replace(REFERENCE, (_, name: string) => lookUp(name, environment));
  if (Array.isArray(value)) return value.map((item) => expandEnvironment(item, environment));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expandEnvironment(item, environment)]));
}

function lookUp(name: string, environment: Environment): string {
  if (!NAME.test(name))
    throw new SdkError('ERR_CONFIG_INVALID', `Expected \${SCENEBUS_NAME}, but the file has \${${name}}.`);
  const value = environment[name];
  if (value === undefined)
    throw new SdkError('ERR_CONFIG_INVALID', `The file refers to \${${name}}, but that variable is not set.`);
  return value;
}
