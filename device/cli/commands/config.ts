import type { Command } from 'commander';
import { type CommandContext, examples } from '../command-context.js';

export function addConfigCommand(program: Command, context: CommandContext): void {
  const config = program.command('config').description('Work with configuration files');
  config
    .command('check')
    .description('Check a configuration file and print it with every default filled in; secrets are not shown')
    .argument('<file>', 'YAML or JSON file')
    .addHelpText('after', examples('scenebus config check /etc/scenebus/config.yaml'))
    .action(async (file: string) => {
      const [{ loadConfig }, { describeConfig }] = await Promise.all([
        import('../../config/load.js'),
        import('../../config/describe.js'),
      ]);
      const loaded = await loadConfig(file, context.environment, { check: 'all' });
      context.terminal.out(describeConfig(loaded));
      context.terminal.note(`${file}: correct`);
    });
}
