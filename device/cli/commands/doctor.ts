import type { Command } from 'commander';
import { diagnose } from '../../doctor/diagnose.js';
import type { Finding } from '../../doctor/finding.js';
import { type CommandContext, examples } from '../command-context.js';
import { EXIT_CODES } from '../exit-codes.js';
import type { Style, Terminal } from '../terminal.js';

const MARKS: Readonly<Record<Finding['status'], readonly [Style, string]>> = {
  ok: ['green', 'ok  '],
  absent: ['yellow', '--  '],
  problem: ['red', 'FAIL'],
};

export function addDoctorCommand(program: Command, context: CommandContext): void {
  program
    .command('doctor')
    .description('Look at this machine: what is there, what is missing, and what each absence means')
    .option('--json', 'print the findings as JSON')
    .option('--model <directory>', 'model folder to look at')
    .addHelpText('after', examples('scenebus doctor', 'scenebus doctor --json', 'scenebus doctor --model ./my-model'))
    .action(async (options: { json?: true; model?: string }) => {
      const findings = await diagnose({ modelDirectory: options.model, signal: context.signal });
      const healthy = findings.every((finding) => finding.status !== 'problem');
      if (options.json) context.terminal.out(JSON.stringify({ healthy, findings }, null, 2));
      else printFindings(findings, context.terminal);
      if (!healthy) context.setExitCode(EXIT_CODES.failed);
    });
}

function printFindings(findings: readonly Finding[], terminal: Terminal): void {
  const width = Math.max(...findings.map((finding) => finding.title.length));
  const indent = ' '.repeat(width + 7);
  for (const { status, title, value, meaning, remedy } of findings) {
    const [style, mark] = MARKS[status];
    terminal.out(`${terminal.paint(style, mark)}  ${terminal.paint('bold', title.padEnd(width))} ${value}`);
    if (meaning !== undefined) terminal.out(`${indent}${meaning}`);
    if (remedy !== undefined) terminal.out(`${indent}${terminal.paint('cyan', `-> ${remedy}`)}`);
  }
  const problems = findings.filter((finding) => finding.status === 'problem').length;
  terminal.out();
  terminal.out(problems === 0 ? 'Nothing stands in the way.' : `${problems} problem(s) stand in the way.`);
}
