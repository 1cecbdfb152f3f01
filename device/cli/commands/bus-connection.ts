/** How the bus commands reach a broker. */
import type { Command } from 'commander';
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
    const { isSdkError, SdkError } = await import('scenebus');
    if (!isSdkError(error, 'ERR_BUS_UNREACHABLE')) throw error;
    const advice =
      '`--broker URL` says where it is: the one in the configuration of the device. A device without one has a broker of its own on loopback, whose address is in its log.';
    throw new SdkError(error.code, `${error.message} ${advice}`, { details: error.details, cause: error });
  }
}
