import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { Logger } from 'scenebus';
import type { ConfigStore } from '../../config/editing/config-store.js';
import type { DeviceConfig, DeviceConfigInput } from '../../config/schema.js';
import type { DemoSummary } from '../../demo/demo-session.js';
import { demoClipPath, demoModelDirectory } from '../../platform/repository-files.js';
import { type CommandContext, examples } from '../command-context.js';
import { EXIT_CODES } from '../exit-codes.js';
import { parsePositive } from '../model-options.js';
import { createProgressReporter } from '../progress.js';
import type { Terminal } from '../terminal.js';

interface DemoCommandOptions {
  readonly camera?: string;
  readonly broker?: string;
  readonly model: string;
  readonly backend: 'auto' | 'cpu' | 'onnx';
  readonly weights: 'int4' | 'float';
  readonly for?: number;
  readonly device: string;
  readonly verbose?: true;
}

const QUESTIONS = ['Where is the red cup?', 'List all objects with their boxes.'];
const CAMERA_ID = 'table';

export function addDemoCommand(program: Command, context: CommandContext): void {
  program
    .command('demo')
    .description('Run the whole product once: a camera, the demo model, a bus, and two questions over it')
    .option('--camera <address>', 'a real camera instead of the sample clip: 0, /dev/video0, rtsp://…')
    .option('--broker <url>', 'a real broker instead of the embedded one')
    .option('--model <directory>', 'another model folder', demoModelDirectory())
    .addOption(new Option('--backend <name>', 'what runs the model').choices(['auto', 'cpu', 'onnx']).default('auto'))
    .addOption(new Option('--weights <form>', 'int4 is quantised once').choices(['int4', 'float']).default('int4'))
    .option('--device <name>', 'name of this device on the bus', 'demo')
    .option('--for <seconds>', 'end by itself, with a summary', parsePositive)
    .option('--verbose', 'also say what happens inside')
    .addHelpText(
      'after',
      examples('scenebus demo', 'scenebus demo --camera 0 --broker mqtt://192.168.1.10', 'scenebus demo --for 30'),
    )
    .action((options: DemoCommandOptions) => demo(options, context));
}

async function demo(options: DemoCommandOptions, { terminal, signal, environment, setExitCode }: CommandContext) {
  const [{ openCamera }, { deviceParts }, { runDemo }, { createLogger }] = await Promise.all([
    import('scenebus'),
    import('../../app/device-parts.js'),
    import('../../demo/demo-session.js'),
    import('../logger.js'),
  ]);
  const { config, store } = await demoConfig(options, environment);
  const logger = createLogger(terminal, options.verbose ? 'debug' : 'warn');
  introduce(options, config, terminal);
  using progress = createProgressReporter(terminal.stderr);
  const out = (line?: string) => {
    progress.clear();
    terminal.out(line);
  };
  const summary = await runDemo({
    config,
    configSource: { store, environment },
    // A service waits for a camera that is not there; whoever tries the demo wants to know at once.
    parts: { ...deviceParts, openCamera: (address, how) => openCamera(address, { ...how, requireFirstFrame: true }) },
    terminal: { ...terminal, out },
    isTerminal: terminal.stdout.isTTY === true,
    logger: demoLogger(logger, out),
    onProgress: progress.onProgress,
    signal,
    questions: QUESTIONS,
    durationMs: options.for === undefined ? undefined : options.for * 1000,
    howToAsk: (broker) => howToAsk(broker, options.device),
  });
  printSummary(summary, terminal);
  // Ctrl-C is a fine end; a demo that said nothing at all is not.
  if (summary.failures > 0 || (summary.scenes === 0 && !signal.aborted)) setExitCode(EXIT_CODES.failed);
}

async function demoConfig(
  { camera, broker, model, backend, weights, device }: DemoCommandOptions,
  environment: CommandContext['environment'],
): Promise<{ readonly config: DeviceConfig; readonly store: ConfigStore }> {
  const [{ SdkError }, { parseConfig }, { MemoryConfigStore }, { stringify }] = await Promise.all([
    import('scenebus'),
    import('../../config/load.js'),
    import('../../config/editing/config-store.js'),
    import('yaml'),
  ]);
  for (const [path, option] of [
    [model, '--model'],
    [camera ?? demoClipPath(), '--camera'],
  ] as const) {
    const isDefault = path === demoClipPath() || path === demoModelDirectory();
    if (isDefault && !existsSync(path))
      throw new SdkError(
        'ERR_ARGUMENT_INVALID',
        `Expected ${path}, which comes with the repository only: give ${option}.`,
      );
  }
  const input: DeviceConfigInput = {
    version: 1,
    device,
    model: { directory: resolve(model), backend, quantize: weights === 'int4' ? 'int4' : 'none' },
    cameras: [{ id: CAMERA_ID, address: camera ?? demoClipPath(), ...(camera === undefined ? { loop: true } : {}) }],
    describe: { minIntervalSeconds: 1 },
    // A demo leaves nothing behind.
    journal: { enabled: false },
    ...(broker === undefined ? {} : { broker: { url: broker } }),
  };
  const name = 'the demo';
  const folder = process.cwd();
  const config = await parseConfig(input, { file: name, folder, environment });
  return { config, store: new MemoryConfigStore(stringify(input), { name, folder }) };
}

function introduce(
  { camera, broker, model }: DemoCommandOptions,
  config: DeviceConfig,
  { out, paint }: Terminal,
): void {
  out(paint('bold', 'SceneBus demo'));
  out(`  camera  ${camera ?? `${demoClipPath()} (played in a loop through OpenCV)`}`);
  out(`  model   ${model}${config.model.quantize === 'int4' ? ', int4' : ''}`);
  out(`  bus     ${broker ?? 'embedded broker on loopback'}, topics under ${config.root}/${config.device}/`);
  out();
}

/** The broker's address is the one line of the log that a reader of the demo needs. */
function demoLogger(logger: Logger, out: Terminal['out']): Logger {
  return {
    log(level, message, details) {
      if (level === 'info' && message.startsWith('No broker is configured')) out(message);
      else logger.log(level, message, details);
    },
  };
}

function howToAsk(broker: string, device: string): string[] {
  const { hostname, port } = new URL(broker);
  const base = `scenebus/${device}`;
  const question = `'{"question":"What is on the table?"}'`;
  return [
    '',
    'Ask a question of your own from a second terminal:',
    `  npx scenebus bus ask ${device} "What is on the table?" --broker ${broker}`,
    'or with the clients of Mosquitto:',
    `  mosquitto_rr -V 311 -h ${hostname} -p ${port || 1883} -t ${base}/request/ask -e ${base}/response/ask -m ${question}`,
    '',
  ];
}

function printSummary({ scenes, answers, failures, seconds }: DemoSummary, { out, paint }: Terminal): void {
  out();
  const failed = failures === 0 ? '' : `, ${failures} without an answer`;
  out(paint('bold', `Summary: ${scenes} descriptions and ${answers} answers in ${seconds.toFixed(0)} s${failed}.`));
}
