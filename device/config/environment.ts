/** What comes from the environment: `${SCENEBUS_…}` inside strings of the file, and the broker's credentials. */
import { isSdkError, SdkError } from 'scenebus';
import { registerSecret } from 'scenebus/service';

export type Environment = Readonly<Record<string, string | undefined>>;

const REFERENCE = /\$\{([^}]*)\}/g;
const NAME = /^SCENEBUS_[A-Z0-9_]+$/;
const SECRET_NAME = /PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|LOGIN/;

/**
 * Replaces `${SCENEBUS_NAME}` in every string of a parsed file, so that a camera's password need not stand in it:
 * `rtsp://viewer:${SCENEBUS_CAMERA_PASSWORD}@10.0.0.7/stream`. Only names that begin with SCENEBUS_ are read. A variable
 * holds the password as it is: within an address it is percent-encoded where that is needed. Values that are secrets by
 * their name or their place are never shown.
 * @param onProblem told of each text with a variable that is not set or has another name, which then stays as it is;
 *   left out: ERR_CONFIG_INVALID is thrown for the first
 * @throws SdkError ERR_CONFIG_INVALID
 */
export function expandEnvironment(
  value: unknown,
  environment: Environment,
  onProblem?: (path: readonly PropertyKey[], message: string) => void,
  path: readonly PropertyKey[] = [],
): unknown {
  if (typeof value === 'string') {
    try {
      return expandText(value, environment);
    } catch (error) {
      if (onProblem === undefined || !isSdkError(error)) throw error;
      onProblem(path, error.message);
      return value;
    }
  }
  const expand = (item: unknown, key: PropertyKey) => expandEnvironment(item, environment, onProblem, [...path, key]);
  if (Array.isArray(value)) return value.map(expand);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expand(item, key)]));
}

function expandText(text: string, environment: Environment): string {
  return text.replace(REFERENCE, (reference, name: string, offset: number) => {
    const found = lookUp(name, environment);
    const place = placeInAddress(text.slice(0, offset), text.slice(offset + reference.length));
    if (place === 'userInfo' || place === 'path' || SECRET_NAME.test(name)) registerSecret(found);
    if (place === 'userInfo') return percentEncoded(found, /[^A-Za-z0-9\-._~]/gu);
    // What would end the path; the rest is the camera's own way of writing.
    if (place === 'path') return percentEncoded(found, /[#?\\\s\p{Cc}]/gu);
    return found;
  });
}

type Place = 'userInfo' | 'host' | 'path' | undefined;

/** Where in an address a reference stands, by what is written around it; undefined: in no address. */
function placeInAddress(before: string, after: string): Place {
  const written = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/(.*)$/s.exec(before)?.[1]?.replace(REFERENCE, '');
  if (written === undefined) return undefined;
  if (/[/?#]/.test(written)) return 'path';
  if (written.includes('@')) return 'host';
  return /^[^/?#]*@/.test(after.replace(REFERENCE, '')) ? 'userInfo' : 'host';
}

function percentEncoded(value: string, characters: RegExp): string {
  return value.replace(characters, (character) =>
    [...new TextEncoder().encode(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
}

function lookUp(name: string, environment: Environment): string {
  if (!NAME.test(name))
    throw new SdkError('ERR_CONFIG_INVALID', `Expected \${SCENEBUS_NAME}, but the file has \${${name}}.`);
  const value = environment[name];
  if (value === undefined)
    throw new SdkError('ERR_CONFIG_INVALID', `The file refers to \${${name}}, but that variable is not set.`);
  return value;
}
