/** `scenebus bus fleet`: the devices at a broker, and how they are. */
import type { Command } from 'commander';
import type { FleetDevice } from 'scenebus/client';
import { type CommandContext, examples } from '../command-context.js';
import { parsePositive } from '../model-options.js';
import type { Terminal } from '../terminal.js';
import { addConnectionOptions, type BusCommandOptions, connect } from './bus-connection.js';

interface FleetCommandOptions extends BusCommandOptions {
  readonly group?: string;
  readonly wait: number;
}

export function addFleet(bus: Command, context: CommandContext): void {
  const command = bus
    .command('fleet')
    .description('List the devices at a broker: versions, model, groups, what is degraded and why')
    .option('--group <name>', 'only the devices of this group')
    .option('--wait <seconds>', 'how long devices have to answer', parsePositive, 2);
  addConnectionOptions(command)
    .addHelpText('after', examples('scenebus bus fleet', 'scenebus bus fleet --broker mqtts://broker.example --json'))
    .action(async (options: FleetCommandOptions) => {
      const { terminal, signal } = context;
      await using client = await connect(options, context);
      const all = await client.fleet({ waitMs: Math.round(options.wait * 1000), signal });
      const { group } = options;
      const fleet = group === undefined ? all : all.filter(({ groups }) => groups.some((each) => each.group === group));
      if (options.json) return terminal.out(JSON.stringify(fleet));
      for (const device of fleet) printDevice(device, terminal);
      const wrong = fleet.filter((device) => problemsOf(device).length > 0 || device.state !== 'online').length;
      const whose = group === undefined ? '' : ` of the group ${group}`;
      if (fleet.length > 0) terminal.note(`${fleet.length} devices${whose}, ${wrong} not well`);
      else {
        const advice = '--root, --wait, and whether this account may read <root>/+/availability';
        terminal.note(`no device${whose} has been seen at ${client.broker}; check ${advice}`);
      }
    });
}

function printDevice(fleetDevice: FleetDevice, terminal: Terminal): void {
  const { device, state, info, health, groups } = fleetDevice;
  const stands = state === 'online' ? (health?.state ?? 'online') : (state ?? 'unknown');
  const model = info?.model;
  const parts = [
    info?.versions.scenebus && `scenebus ${info.versions.scenebus}`,
    model && `${model.id}${model.hash === undefined ? '' : ` ${model.hash.slice(0, 12)}`}`,
    info && `${info.cameras.length} cameras`,
    ...groups.map((each) => `${each.group}: ${each.state}${each.reason === undefined ? '' : ` (${each.reason})`}`),
  ].filter((part) => part !== undefined && part !== null && part !== '');
  terminal.out(`${terminal.paint('bold', device)} ${stands}  ${parts.join(', ')}`);
  for (const { code, message } of problemsOf(fleetDevice)) terminal.out(`  ${code}: ${message}`);
}

/** What was wrong when it was last heard says nothing of a device that is not there. */
function problemsOf({ state, health }: FleetDevice) {
  return state === 'online' ? (health?.problems ?? []) : [];
}
