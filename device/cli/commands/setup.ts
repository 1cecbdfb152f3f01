import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { type CommandContext, examples } from '../command-context.js';
import { EXIT_CODES } from '../exit-codes.js';

export function addSetupCommand(program: Command, context: CommandContext): void {
  program
    .command('setup')
    .description('Install what is missing (system packages with apt) and build the native addons')
    .option('--dry-run', 'only say what is missing and what would be installed')
    .addHelpText('after', examples('scenebus setup', 'scenebus setup --dry-run'))
    .action(async (options: { dryRun?: true }) => {
      // dist/device/cli/commands -> the package's root.
      const script = fileURLToPath(new URL('../../../../device/setup/prepare.mjs', import.meta.url));
      if (!existsSync(script)) {
        const { SdkError } = await import('scenebus');
        throw new SdkError('ERR_NATIVE_UNAVAILABLE', `Expected ${script}, but the package lacks it: install it again.`);
      }
      const args = [script, '--for', 'demo', ...(options.dryRun ? ['--dry-run'] : [])];
      const code = await new Promise<number | null>((resolve, reject) => {
        const child = spawn(process.execPath, args, { stdio: 'inherit' });
        context.signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
        child.on('error', reject);
        child.on('close', resolve);
      });
      if (code !== 0) context.setExitCode(EXIT_CODES.failed);
    });
}
