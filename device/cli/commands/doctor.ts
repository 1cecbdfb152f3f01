import { type Command, Option } from 'commander';
import type { Finding } from '../../platform/doctor/finding.js';
import { type CommandContext, examples } from '../command-context.js';
import { EXIT_CODES } from '../exit-codes.js';
import { createProgressReporter } from '../progress.js';
import { formatSelfTest } from '../self-test-output.js';
import type { Style, Terminal } from '../terminal.js';

const MARKS: Readonly<Record<Finding['status'], readonly [Style, string]>> = {
  ok: ['green', 'ok  '],
  absent: ['yellow', '--  '],
  problem: ['red', 'FAIL'],
};

interface DoctorOptions {
  readonly json?: true;
  readonly model?: string;
  readonly config?: string;
  readonly broker?: string;
  readonly selfTest?: true;
  readonly cache?: string;
}

export function addDoctorCommand(program: Command, context: CommandContext): void {
  program
    .command('doctor')
    .description('Look at this machine: what is there, what is missing, and what each absence means')
    .option('--json', 'print the findings as JSON')
    .option('--model <directory>', 'model folder to look at')
    .option('--config <file>', 'configuration to check, with its model folder and its broker; nothing is started')
    .option(
      '--broker <url>',
      'broker to connect to; credentials from SCENEBUS_MQTT_USERNAME and _PASSWORD or those of --config',
    )
    .addOption(
      new Option(
        '--self-test',
        'run the self-test of the TensorRT backend on this device instead, layer by layer',
      ).conflicts(['model', 'config', 'broker']),
    )
    .option('--cache <directory>', 'with --self-test: where plans are kept; default ~/.cache/scenebus')
    .addHelpText(
      'after',
      examples(
        'scenebus doctor',
        'scenebus doctor --json',
        'scenebus doctor --model ./my-model',
        'scenebus doctor --config /etc/scenebus/config.yaml',
        'scenebus doctor --broker mqtt://192.168.1.10',
        'scenebus doctor --self-test',
      ),
    )
    .action(async (options: DoctorOptions) => {
      if (options.selfTest) return runSelfTest(options, context);
      const findings = await findAll(options, context);
      const healthy = findings.every((finding) => finding.status !== 'problem');
      if (options.json) context.terminal.out(JSON.stringify({ healthy, findings }, null, 2));
      else printFindings(findings, context.terminal);
      if (!healthy) context.setExitCode(EXIT_CODES.failed);
    });
}

/** What a configuration names is looked at instead of what a machine would have without one. */
async function findAll({ model, config, broker }: DoctorOptions, context: CommandContext): Promise<Finding[]> {
  const [{ diagnose }, { checkConfigAndBroker }] = await Promise.all([
    import('../../platform/doctor/diagnose.js'),
    import('../../app/config-checks.js'),
  ]);
  const { environment, signal } = context;
  const [general, named] = await Promise.all([
    diagnose({ modelDirectory: model, signal }),
    checkConfigAndBroker({ config, broker, environment, signal }),
  ]);
  const own = named.filter(({ id }) => id !== 'model' || model === undefined);
  const ids = new Set(own.map(({ id }) => id));
  return [...general.filter(({ id }) => !ids.has(id)), ...own];
}

/** The device may serve when the last mode that was tried computes what it should. */
async function runSelfTest({ json, cache }: DoctorOptions, context: CommandContext): Promise<void> {
  const { terminal, signal } = context;
  const [{ tensorRtSelfTest }, { createLogger }] = await Promise.all([
    import('scenebus/tensorrt'),
    import('../logger.js'),
  ]);
  using progress = createProgressReporter(terminal.stderr);
  const { onProgress } = progress;
  const logger = createLogger(terminal, 'warn');
  const reports = await tensorRtSelfTest({ cacheDirectory: cache, onProgress, logger, signal });
  progress[Symbol.dispose]();
  const mode = reports.at(-1)?.mode;
  const passed = reports.every((report) => report.mode !== mode || report.reason === null);
  if (json) terminal.out(JSON.stringify({ passed, reports }, null, 2));
  else for (const line of formatSelfTest(reports)) terminal.out(line);
  if (!passed) context.setExitCode(EXIT_CODES.failed);
}

function printFindings(findings: readonly Finding[], terminal: Terminal): void {
  const width = Math.max(...findings.map((finding) => finding.title.length));
  const indent = ' '.repeat(width + 7);
  for (const { status, title, value, meaning, remedy } of findings) {
    const [style, mark] = MARKS[status];
    const lines = value.replaceAll('\n', `\n${indent}`);
    terminal.out(`${terminal.paint(style, mark)}  ${terminal.paint('bold', title.padEnd(width))} ${lines}`);
    if (meaning !== undefined) terminal.out(`${indent}${meaning}`);
    if (remedy !== undefined) terminal.out(`${indent}${terminal.paint('cyan', `-> ${remedy}`)}`);
  }
  const problems = findings.filter((finding) => finding.status === 'problem').length;
  terminal.out();
  terminal.out(problems === 0 ? 'Nothing needs to be fixed.' : `${problems} problem(s) must be fixed first.`);
}
