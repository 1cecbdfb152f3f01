import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { type CommandContext, examples } from '../command-context.js';
import { EXIT_CODES } from '../exit-codes.js';

const DEFAULT_CONFIG = '/etc/scenebus/config.yaml';

/** Cameras belong to video; the GPU to video or render, as the distribution has it. */
const DEVICE_GROUPS = ['video', 'render'];

interface InstallOptions {
  readonly config: string;
  readonly user: string;
  readonly unitFolder: string;
  readonly start: boolean;
  readonly dryRun: boolean;
}

export function addServiceCommand(program: Command, context: CommandContext): void {
  const service = program.command('service').description('The device as a service of systemd');
  service
    .command('install')
    .description('Check the configuration, write the unit file for this installation, enable and start it')
    .option('--config <file>', 'configuration of the device', DEFAULT_CONFIG)
    .option('--user <name>', 'system user that it runs as; created if missing', 'scenebus')
    .option('--unit-folder <folder>', 'where the unit file goes', '/etc/systemd/system')
    .option('--no-start', 'enable it for the next start of the machine, do not start it now')
    .option('--dry-run', 'print the unit file and the commands, change nothing', false)
    .addHelpText(
      'after',
      examples(
        'scenebus service install --dry-run',
        'sudo scenebus service install --config /etc/scenebus/config.yaml',
      ),
    )
    .action((options: InstallOptions) => install(options, context));
  service
    .command('status')
    .description('Is it running, since when, and what it says of itself')
    .addHelpText('after', examples('scenebus service status'))
    .action(async () => {
      await pass(context, 'systemctl', ['status', '--no-pager', 'scenebus.service']);
    });
  service
    .command('logs')
    .description('What it has logged')
    .option('-f, --follow', 'keep printing new lines as they come', false)
    .option('-n, --lines <count>', 'the last so many lines', '100')
    .addHelpText('after', examples('scenebus service logs --follow'))
    .action(async ({ follow, lines }: { follow: boolean; lines: string }) => {
      const more = follow ? ['--follow'] : [];
      await pass(context, 'journalctl', ['--no-pager', '--unit=scenebus.service', `--lines=${lines}`, ...more]);
    });
  service
    .command('reload')
    .description('Apply the changed configuration without a restart; its log names what needs one')
    .addHelpText('after', examples('scenebus service reload'))
    .action(async () => {
      if (await pass(context, 'systemctl', ['reload', 'scenebus.service']))
        context.terminal.note('reloaded; `scenebus service logs` tells what was applied and what needs a restart');
    });
}

async function install(options: InstallOptions, context: CommandContext): Promise<void> {
  const { terminal, environment } = context;
  const [{ loadConfig }, { unitFile, writeUnitFile }] = await Promise.all([
    import('../../config/load.js'),
    import('../../platform/systemd.js'),
  ]);
  const config = resolve(options.config);
  await loadConfig(config, environment);
  const command = [process.execPath, fileURLToPath(new URL('../main.js', import.meta.url))];
  const groups = await presentGroups(context);
  const unit = await unitFile({ command, config, user: options.user, groups });
  const enable = ['enable', ...(options.start ? ['--now'] : []), 'scenebus.service'];
  const asMember = groups.length === 0 ? [] : ['--groups', groups.join(',')];
  const makeUser = ['--system', '--home-dir', '/var/lib/scenebus', '--shell', '/usr/sbin/nologin', ...asMember];
  if (options.dryRun) {
    terminal.out(unit.trimEnd());
    terminal.note(`# would go to ${options.unitFolder}/scenebus.service; then:`);
    terminal.note(`# useradd ${makeUser.join(' ')} ${options.user}   (if the user does not exist)`);
    terminal.note(`# systemctl daemon-reload && systemctl ${enable.join(' ')}`);
    return;
  }
  if (options.user !== userInfo().username && !(await succeeds(context, 'id', ['-u', options.user]))) {
    if (!(await pass(context, 'useradd', [...makeUser, options.user]))) return;
    terminal.note(`made the system user ${options.user}`);
  }
  terminal.note(`written: ${await writeUnitFile(options.unitFolder, unit)}`);
  if (!(await pass(context, 'systemctl', ['daemon-reload']))) return;
  if (!(await pass(context, 'systemctl', enable))) return;
  const how = options.start ? 'enabled and started' : 'enabled; `sudo systemctl start scenebus` starts it now';
  terminal.note(`${how}. Secrets go into /etc/scenebus/environment; \`scenebus service status\` shows how it is.`);
}

/** Of the groups that a device needs, those of this machine. */
async function presentGroups(context: CommandContext): Promise<string[]> {
  const present: string[] = [];
  for (const group of DEVICE_GROUPS) if (await succeeds(context, 'getent', ['group', group])) present.push(group);
  return present;
}

/** Its output is ours. @returns whether it succeeded; where not, neither did this command. */
async function pass(context: CommandContext, program: string, args: readonly string[]): Promise<boolean> {
  const { runSystemCommand } = await import('../../platform/systemd.js');
  const { terminal, environment, signal } = context;
  const onOutput = (text: string) => void terminal.stdout.write(text);
  const status = await runSystemCommand(program, args, { environment, onOutput, signal });
  if (status !== 0) {
    terminal.note(`\`${program} ${args.join(' ')}\` ended with ${status}`);
    context.setExitCode(EXIT_CODES.failed);
  }
  return status === 0;
}

async function succeeds(context: CommandContext, program: string, args: readonly string[]): Promise<boolean> {
  const { runSystemCommand } = await import('../../platform/systemd.js');
  const { environment, signal } = context;
  return (await runSystemCommand(program, args, { environment, signal, onOutput: () => {} })) === 0;
}
