/** Secrets of the configuration: a page sees that they are set, and may replace those that lie in a file. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { SdkError } from 'scenebus';
import { registerSecret } from 'scenebus/service';
import { replace } from '../../config/editing/config-store.js';
import type { ConfigChange } from '../../config/editing/edit.js';
import { hasUserInfo } from '../../config/editing/web-addresses.js';
import type { DeviceConfig } from '../../config/schema.js';
import { HttpError } from '../../http/http-error.js';
import type { ConfigOverview } from '../api/settings-schemas.js';
import type { ConfigAccess } from '../context.js';

export const BROKER_PASSWORD = 'broker-password';

export interface SecretsOptions {
  readonly access: ConfigAccess;
  readonly running: () => DeviceConfig;
}

export class Secrets {
  readonly #options: SecretsOptions;

  constructor(options: SecretsOptions) {
    this.#options = options;
  }

  /** `values`: as the file has them. */
  list(values: Readonly<Record<string, unknown>>): ConfigOverview['secrets'] {
    const { secrets } = this.#options.running();
    const cameras = (Array.isArray(values.cameras) ? values.cameras : []) as { id?: unknown; address?: unknown }[];
    return [
      {
        id: BROKER_PASSWORD,
        title: 'Password for the broker',
        isSet: secrets.mqttPassword !== undefined,
        fixed: this.#whyFixed() ?? null,
      },
      {
        id: 'console-password',
        title: "The admin's password from the environment",
        isSet: secrets.consolePassword !== undefined,
        fixed: 'It is SCENEBUS_CONSOLE_PASSWORD; one without it is set under Access.',
      },
      ...cameras
        .filter(({ address }) => typeof address === 'string' && hasUserInfo(address))
        .map(({ id }) => ({
          id: `camera-${String(id)}`,
          title: `User and password of camera ${String(id)}`,
          isSet: true,
          fixed: 'They are part of its address: enter that as a whole, rtsp://user:password@…, to replace them.',
        })),
    ];
  }

  /**
   * Writes another password where the file says that it lies.
   * @returns what the file has to say from now on, where it said nothing
   */
  async replace(id: string, value: string): Promise<ConfigChange | undefined> {
    if (id !== BROKER_PASSWORD) throw new HttpError(404, 'SECRET_UNKNOWN', 'There is no secret of this name.');
    const fixed = this.#whyFixed();
    if (fixed !== undefined) throw new HttpError(409, 'SECRET_FIXED', fixed);
    if (/[\r\n\0]/.test(value)) throw new HttpError(400, 'REQUEST_INVALID', 'Expected one line of text.');
    registerSecret(value);
    const { access, running } = this.#options;
    const known = running().broker?.passwordFile;
    // Never a name that a browser sent.
    const name = `broker-password-${randomBytes(4).toString('hex')}`;
    const file = known ?? join(access.store.folder, name);
    try {
      await replace(file, `${value}\n`, { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    } catch (cause) {
      throw new SdkError('ERR_DISK_FULL', 'The password cannot be written where the configuration says.', { cause });
    }
    return known === undefined ? { path: ['broker', 'passwordFile'], value: name } : undefined;
  }

  #whyFixed(): string | undefined {
    const { access, running } = this.#options;
    if (access.environment.SCENEBUS_MQTT_PASSWORD !== undefined)
      return 'It is SCENEBUS_MQTT_PASSWORD of the environment: change it there.';
    if (running().broker === undefined) return 'There is no broker in the configuration.';
    if (access.store.isTemporary) return 'There is no file that it could be kept in.';
    return undefined;
  }
}
