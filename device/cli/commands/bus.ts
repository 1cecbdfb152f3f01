import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import type { BusClient, Question } from 'scenebus/client';
import { describeObject } from '../answer-output.js';
import { type CommandContext, examples } from '../command-context.js';
import { parsePositive } from '../model-options.js';
import { createProgressReporter } from '../progress.js';
import { addConnectionOptions, advised, type BusCommandOptions, connect } from './bus-connection.js';
import { addFleet } from './bus-fleet.js';

interface AskCommandOptions extends BusCommandOptions {
  readonly timeout: number;
  readonly group?: string;
  readonly schema?: string;
  readonly frame?: string;
  readonly priority?: NonNullable<Question['priority']>;
}

export function addBusCommand(program: Command, context: CommandContext): void {
  const bus = program.command('bus').description('Talk to devices over the bus');
  addAsk(bus, context);
  addFleet(bus, context);
  addWatch(bus, context);
  addSchema(bus, context);
}

const MORE_TIME = '`--timeout SECONDS` says how long that is.';

function addAsk(bus: Command, context: CommandContext): void {
  const command = bus
    .command('ask')
    .description('Ask a device about what it sees now')
    .argument('<device>', 'name of the device; left out with --group')
    .argument('[question]', 'in plain words')
    .option('--group <name>', 'ask whichever device of this group takes it')
    .option('--schema <file>', 'JSON Schema of the answer, whose value is printed')
    .option('--frame <id>', 'about this frame, as a description or an answer named it; left out: the newest')
    .addOption(
      new Option(
        '--priority <name>',
        'high goes before other questions, low after all; left out, the device takes it as normal',
      ).choices(['low', 'normal', 'high']),
    )
    .option('--timeout <seconds>', 'how long to wait for the answer', parsePositive, 120);
  addConnectionOptions(command)
    .addHelpText(
      'after',
      examples(
        'scenebus bus ask demo "Where is the red cup?"',
        'scenebus bus ask demo "How many people wait, and is the door open?" --schema queue.json',
        'scenebus bus ask --group lobby "Is anybody waiting?"',
        'scenebus bus ask robot "Is somebody in the way?" --priority high',
      ),
    )
    .action(async (first: string, second: string | undefined, options: AskCommandOptions) => {
      const { terminal, signal } = context;
      const { group } = options;
      const { device, question } = await whomAndWhat(first, second, group);
      const answerSchema = options.schema === undefined ? undefined : await readSchema(options.schema);
      await using client = await connect(options, context);
      using progress = createProgressReporter(terminal.stderr);
      progress.onProgress({
        phase: `waiting for ${device ?? `a device of ${group}`}`,
        done: 0,
        total: 0,
        unit: 'steps',
      });
      if (device !== undefined) await requireSeen(client, device, context, options.timeout * 1000);
      const request: Question = {
        question,
        ...(options.camera === undefined ? {} : { camera: options.camera }),
        ...(answerSchema === undefined ? {} : { answerSchema }),
        ...(options.frame === undefined ? {} : { frameId: options.frame }),
        ...(options.priority === undefined ? {} : { priority: options.priority }),
      };
      const limits = { timeoutMs: Math.round(options.timeout * 1000), signal };
      const asked =
        device === undefined ? client.group(group ?? '').ask(request, limits) : client.ask(device, request, limits);
      const reply = await asked.catch(async (error: unknown) => {
        throw await advised(error, { ERR_BUS_TIMEOUT: MORE_TIME, ERR_REQUEST_EXPIRED: MORE_TIME });
      });
      progress[Symbol.dispose]();
      if (options.json) return terminal.out(JSON.stringify(reply));
      terminal.out(answerSchema === undefined ? reply.text : JSON.stringify(reply.value));
      for (const object of reply.objects) terminal.out(`  ${describeObject(object, terminal)}`);
      if (group !== undefined)
        terminal.note(`answered by ${reply.device}${reply.group?.attempt === 2 ? ', asked again' : ''}`);
    });
}

/** With --group there is no device to name: the first word is the question. */
async function whomAndWhat(first: string, second: string | undefined, group: string | undefined) {
  if (group === undefined && second !== undefined) return { device: first, question: second };
  if (group !== undefined && second === undefined) return { device: undefined, question: first };
  const { SdkError } = await import('scenebus');
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    group === undefined
      ? `Expected a device and a question, but received only ${JSON.stringify(first)}: scenebus bus ask demo "Where is the red cup?"`
      : `Expected a device or --group ${group}, but received both, ${JSON.stringify(first)} as the device; leave one of them out.`,
  );
}

/** Refused here when the model could not hold to it, before anybody is asked. */
async function readSchema(file: string): Promise<Record<string, unknown>> {
  const { checkAnswerSchema, SdkError } = await import('scenebus');
  const refuse = (problem: string, cause?: unknown) =>
    new SdkError('ERR_ARGUMENT_INVALID', `Expected ${file} to hold a JSON Schema (--schema), but ${problem}.`, {
      cause,
    });
  let content: unknown;
  try {
    content = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw refuse(cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content))
    throw refuse('it holds no JSON object');
  const schema = content as Record<string, unknown>;
  await checkAnswerSchema(schema);
  return schema;
}

const UNSEEN_AFTER_MS = 5_000;

/**
 * A device that was ever here has left its availability with the broker, retained. Without it nobody would answer, and
 * the whole of a long timeout would pass before that is said.
 */
async function requireSeen(client: BusClient, device: string, { signal }: CommandContext, timeoutMs: number) {
  const { isSdkError, SdkError } = await import('scenebus');
  const limit = new AbortController();
  const stop = () => limit.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  const unseen = new SdkError(
    'ERR_BUS_UNREACHABLE',
    `Expected the device "${device}" at ${client.broker}, but none of that name has ever been seen there. Check its name (\`scenebus bus watch\` shows who publishes), --root, that it runs, and that this account may read its availability.`,
    { details: { device } },
  );
  const timer = setTimeout(() => limit.abort(unseen), Math.min(UNSEEN_AFTER_MS, timeoutMs));
  try {
    signal.throwIfAborted();
    for await (const _ of client.availability(device, { signal: limit.signal })) return;
  } catch (error) {
    // A broker account that may not know who is there may ask all the same.
    if (!isSdkError(error, 'ERR_BUS_REJECTED')) throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

function addWatch(bus: Command, context: CommandContext): void {
  const command = bus
    .command('watch')
    .description('Print the descriptions that devices publish, as they come')
    .argument('[device]', 'name of the device; all of them when left out', '*');
  addConnectionOptions(command)
    .addHelpText('after', examples('scenebus bus watch', 'scenebus bus watch kitchen --camera front --json'))
    .action(async (device: string, options: BusCommandOptions) => {
      const { terminal, signal } = context;
      await using client = await connect(options, context);
      terminal.note(`listening on ${client.broker}; Ctrl-C ends it`);
      const only = options.camera === undefined ? {} : { camera: options.camera };
      try {
        for await (const scene of client.scenes(device, { ...only, signal })) {
          if (options.json) terminal.out(JSON.stringify(scene));
          else terminal.out(`${scene.ts} ${terminal.paint('bold', `${scene.device}/${scene.camera}`)} ${scene.text}`);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    });
}

interface SchemaOptions {
  readonly asyncapi?: true;
  readonly markdown?: true;
  readonly out?: string;
  readonly root: string;
}

function addSchema(bus: Command, { terminal }: CommandContext): void {
  bus
    .command('schema')
    .description('Print the contract of the bus: JSON Schemas by name, or another form of it')
    .option('--asyncapi', 'an AsyncAPI 3 document')
    .option('--markdown', 'a page for people: topics, payloads, access rules')
    .option('--out <dir>', 'write every form into this folder instead: README.md, asyncapi.json, schemas/*.json')
    .option('--root <topic>', 'topic root in the AsyncAPI document', 'scenebus')
    .addHelpText(
      'after',
      examples('scenebus bus schema --asyncapi > asyncapi.json', 'scenebus bus schema --out contract'),
    )
    .action(async ({ asyncapi, markdown, out, root }: SchemaOptions) => {
      const { asyncApiDocument, busJsonSchemas, contractFiles, contractReference } = await import('scenebus/bus');
      if (out !== undefined) {
        const files = contractFiles({ root });
        for (const [name, content] of files) {
          const path = join(out, name);
          await mkdir(dirname(path), { recursive: true });
          await writeFile(path, content);
        }
        terminal.note(`wrote ${files.size} files to ${out}`);
      } else if (markdown) terminal.out(contractReference());
      else if (asyncapi) terminal.out(JSON.stringify(asyncApiDocument({ root }), undefined, 2));
      else terminal.out(JSON.stringify(Object.fromEntries(busJsonSchemas()), undefined, 2));
    });
}
