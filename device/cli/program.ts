import { createRequire } from 'node:module';
import { Command } from 'commander';
import { type CommandContext, examples } from './command-context.js';
import { addAskCommand } from './commands/ask.js';
import { addBuildEngineCommand } from './commands/build-engine.js';
import { addBusCommand } from './commands/bus.js';
import { addCalibrateCameraCommand } from './commands/calibrate-camera.js';
import { addCalibrateGroundingCommand } from './commands/calibrate-grounding.js';
import { addCalibrateScoresCommand } from './commands/calibrate-scores.js';
import { addCompareCommand } from './commands/compare.js';
import { addConfigCommand } from './commands/config.js';
import { addDemoCommand } from './commands/demo.js';
import { addDescribeCommand } from './commands/describe.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addEvaluateCommand } from './commands/evaluate.js';
import { addLogCommand } from './commands/log.js';
import { addMergeLoraCommand } from './commands/merge-lora.js';
import { addQuantizeCommand } from './commands/quantize.js';
import { addRunCommand } from './commands/run.js';
import { addServeCommand } from './commands/serve.js';
import { addServiceCommand } from './commands/service.js';
import { addSetupCommand } from './commands/setup.js';
import { addVerifyCommand } from './commands/verify.js';
import { EXIT_CODES, reportError } from './exit-codes.js';
import type { ReloadSignal } from './reload-signal.js';
import { createTerminal, type Terminal } from './terminal.js';

export interface CliOptions {
  readonly terminal?: Terminal | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default: the process's, unless it is a terminal. */
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  readonly reloads?: Pick<ReloadSignal, 'handle'> | undefined;
}

/** Runs one command line (without `node` and the script) and resolves with its exit code; never rejects. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<number> {
  const terminal = options.terminal ?? createTerminal();
  let exitCode: number = EXIT_CODES.ok;
  const context: CommandContext = {
    terminal,
    signal: options.signal ?? new AbortController().signal,
    // A getter: touching process.stdin opens it.
    get stdin() {
      return options.stdin ?? (process.stdin.isTTY ? undefined : process.stdin);
    },
    environment: options.environment ?? process.env,
    onReload: (handler) => options.reloads?.handle(handler) ?? (() => {}),
    setExitCode: (code) => {
      exitCode = code;
    },
  };
  try {
    await createProgram(context).parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    const code = await reportError(error, terminal);
    // A command may have said more exactly what its failure means.
    return exitCode === EXIT_CODES.ok ? code : exitCode;
  }
}

/**
 * Arguments and help of every command. What a command runs on (the SDK, OpenCV's host, MQTT, the model) is loaded by its
 * action, so that `--help` and a wrong argument cost no more than the parser.
 */
export function createProgram(context: CommandContext): Command {
  const { terminal } = context;
  const { version } = createRequire(import.meta.url)('scenebus/package.json') as { version: string };
  const program = new Command('scenebus')
    .description('Camera frames to scene descriptions and grounded answers on an MQTT bus.')
    .version(version)
    // Subcommands inherit both, so they are set before any is added.
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.stdout.write(text),
      writeErr: (text) => terminal.stderr.write(text),
      getOutHelpWidth: () => terminal.stdout.columns ?? 100,
    })
    .showHelpAfterError('(`--help` shows how to use it)')
    .addHelpText('after', examples('scenebus demo', 'scenebus doctor', 'scenebus ask photo.jpg "Where is the cup?"'));
  addDemoCommand(program, context);
  addRunCommand(program, context);
  addDescribeCommand(program, context);
  addAskCommand(program, context);
  addServeCommand(program, context);
  addBusCommand(program, context);
  addLogCommand(program, context);
  addQuantizeCommand(program, context);
  addMergeLoraCommand(program, context);
  addBuildEngineCommand(program, context);
  addVerifyCommand(program, context);
  addEvaluateCommand(program, context);
  addCompareCommand(program, context);
  addCalibrateGroundingCommand(program, context);
  addCalibrateScoresCommand(program, context);
  addCalibrateCameraCommand(program, context);
  addDoctorCommand(program, context);
  addConfigCommand(program, context);
  addServiceCommand(program, context);
  addSetupCommand(program, context);
  return program;
}
