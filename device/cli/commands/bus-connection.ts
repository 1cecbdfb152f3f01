/** How the bus commands reach a broker. */
import type { Command } from 'commander';
import type { ErrorCode } from 'scenebus';
import type { CommandContext } from '../command-context.js';

export interface BusCommandOptions {
  readonly broker: string;
  readonly root: string;
  readonly camera?: string;
  readonly json?: true;
}

export function addConnectionOptions(command: Command): Command {
  return command
    .option(
      '--broker <url>',
      'broker address; credentials from SCENEBUS_MQTT_USERNAME and _PASSWORD',
      'mqtt://127.0.0.1:1883',
    )
    .option('--root <topic>', 'topic root', 'scenebus')
    .option('--camera <id>', 'only this camera')
    .option('--json', 'print JSON');
}

export async function connect(options: BusCommandOptions, { environment, signal }: CommandContext) {
  const { connectClient } = await import('scenebus/client');
  try {
    return await connectClient({
      url: options.broker,
      root: options.root,
      username: environment.SCENEBUS_MQTT_USERNAME,
      password: environment.SCENEBUS_MQTT_PASSWORD,
      signal,
    });
  } catch (error) {
    throw await advised(error, {
      ERR_BUS_UNREACHABLE:
        '`--broker URL` says where it is: the one in the configuration of the device. A device without one has a broker of its own on loopback, whose address is in its log.',
      ERR_BUS_REJECTED:
        'This command takes user name and password from SCENEBUS_MQTT_USERNAME and SCENEBUS_MQTT_PASSWORD, or from the address.',
    });
  }
}

/** What a program is told is told to a person with what this command has for it. */
export async function advised(error: unknown, advice: Partial<Record<ErrorCode, string>>): Promise<unknown> {
  const { isSdkError, SdkError } = await import('scenebus');
  const more = isSdkError(error) ? advice[error.code] : undefined;
  if (!isSdkError(error) || more === undefined) return error;
  return new SdkError(error.code, `${error.message} ${more}`, { details: error.details, cause: error });
}
