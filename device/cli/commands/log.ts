import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { JournalEvent, JournalQuery } from '../../journal/query.js';
import { STORED_KINDS, type StoredKind } from '../../journal/record.js';
import { type CommandContext, examples } from '../command-context.js';
import { addModelOptions, type ModelCommandOptions, parseCount } from '../model-options.js';
import type { Terminal } from '../terminal.js';

interface LogOptions {
  readonly config?: string;
  readonly journal?: string;
  readonly kind?: StoredKind[];
  readonly camera?: string;
  readonly from?: number;
  readonly to?: number;
}

export function addLogCommand(program: Command, context: CommandContext): void {
  const log = program.command('log').description('Look into what a device has seen, said and answered');
  addSearch(log, context);
  addFind(log, context);
  addExport(log, context);
}

function addSelection(command: Command): Command {
  return addPlace(command).option(
    '--kind <kind>',
    `only this; may be repeated: ${STORED_KINDS.join(', ')}`,
    collectKinds,
  );
}

function addPlace(command: Command): Command {
  return command
    .addOption(new Option('--config <file>', 'configuration of the device whose journal it is').conflicts('journal'))
    .option('--journal <file>', 'the journal itself (journal.db)')
    .option('--camera <id>', 'only this camera')
    .option('--from <time>', 'not before: 2026-11-30T08:00, or 90m, 12h, 7d ago', parseTime)
    .option('--to <time>', 'before', parseTime);
}

function addSearch(log: Command, context: CommandContext): void {
  const command = log
    .command('search')
    .description('Find events by words, the newest first')
    .argument('[words...]', 'all of them occur; "red cup" in one argument: side by side; cup*: begins so')
    .option('--limit <count>', 'at most so many', parseCount, 20)
    .option('--json', 'print JSON lines');
  addSelection(command)
    .addHelpText(
      'after',
      examples(
        'scenebus log search --config config.yaml red cup',
        'scenebus log search --config config.yaml --kind problem --from 24h',
      ),
    )
    .action(async (words: string[], options: LogOptions & { readonly limit: number; readonly json?: true }) => {
      const { terminal } = context;
      const { eventLine } = await import('../../journal/export.js');
      await using journal = await openJournal(options, context);
      const text = words.map((word) => (/\s/.test(word) ? `"${word.replaceAll('"', '')}"` : word)).join(' ');
      const query = { ...selection(options), ...(text === '' ? {} : { text }) };
      const { events, cursor } = await journal.query({ ...query, limit: options.limit });
      for (const event of events) terminal.out(options.json ? eventLine(event) : describe(event, terminal));
      if (events.length === 0) terminal.note('nothing found');
      if (cursor !== null) terminal.note(`there is more: --limit, --from and --to choose`);
    });
}

interface FindOptions extends Omit<LogOptions, 'kind'>, ModelCommandOptions {
  readonly limit: number;
  readonly candidates: number;
  readonly words?: true;
  readonly pictures?: string;
  readonly json?: true;
}

function addFind(log: Command, context: CommandContext): void {
  const command = log
    .command('find')
    .description('Find kept pictures of what is described: words choose candidates, the model puts them in order')
    .argument('<text>', 'what is seen, as a description would say it: "a red cup near the book"')
    .option('--limit <count>', 'at most so many', parseCount, 5)
    .option('--candidates <count>', 'so many pictures are looked at', parseCount, 32)
    .option('--words', 'by the words of descriptions alone, without a model')
    .option('--pictures <folder>', 'write the pictures that were found there, the best first')
    .option('--json', 'print JSON lines');
  addModelOptions(addPlace(command))
    .addHelpText(
      'after',
      examples(
        'scenebus log find --config config.yaml "a red cup near the book"',
        'scenebus log find --journal journal.db --from 24h "a person at the door" --pictures found',
      ),
    )
    .action(async (text: string, options: FindOptions) => {
      const { findFrames } = await import('../../journal/find-frames.js');
      const { printFound, writeFound } = await import('../found-output.js');
      await using journal = await openJournal(options, context);
      const { model, notice } = await modelOf(command, options, context);
      await using _ = model;
      const { camera, from, to, limit, candidates } = options;
      const { signal, terminal, setExitCode } = context;
      const found = await findFrames(journal, { text, camera, from, to, limit, candidates }, { model, signal });
      printFound(found, { asJson: options.json === true }, terminal);
      for (const line of notice === undefined ? found.notices : [notice]) terminal.note(line);
      if (options.pictures !== undefined) await writeFound(journal, found, options.pictures);
      if (found.frames.length === 0) setExitCode(1);
    });
}

/** A model that cannot be had is no reason to find nothing: words are left. */
async function modelOf(command: Command, options: FindOptions, context: CommandContext) {
  const words = 'The order is by the words of descriptions alone.';
  if (options.words) return { model: undefined, notice: words };
  const isNamed = command.getOptionValueSource('model') === 'cli';
  if (!isNamed && options.config === undefined)
    return { model: undefined, notice: `No model is named: --config or --model. ${words}` };
  const [{ loadForCommand }, { isSdkError }] = await Promise.all([
    import('../load-for-command.js'),
    import('scenebus'),
  ]);
  const configured = isNamed ? undefined : await configuredModel(options, context);
  try {
    return { model: await loadForCommand({ ...options, ...configured }, context), notice: undefined };
  } catch (error) {
    if (!isSdkError(error) || !/^ERR_(MODEL|TOKENIZER|NATIVE|ENGINE)_/.test(error.code)) throw error;
    return { model: undefined, notice: `No model: ${error.message} ${words}` };
  }
}

async function configuredModel({ config }: FindOptions, { environment }: CommandContext) {
  if (config === undefined) return undefined;
  const { loadConfig } = await import('../../config/load.js');
  const { directory: model, backend } = (await loadConfig(config, environment)).model;
  return { model, backend };
}

function addExport(log: Command, context: CommandContext): void {
  const command = log
    .command('export')
    .description('Write events as JSON lines, or answers with their pictures as a data set')
    .option('--data-set <folder>', 'questions, pictures and answers for calibration or distillation, with a card')
    .option('--name <name>', 'of the data set; default: the folder’s name');
  addSelection(command)
    .addHelpText(
      'after',
      examples(
        'scenebus log export --config config.yaml > events.jsonl',
        'scenebus log export --config config.yaml --from 7d --data-set ./kitchen-questions',
      ),
    )
    .action(async (options: LogOptions & { readonly dataSet?: string; readonly name?: string }) => {
      const { terminal, signal, setExitCode } = context;
      const { allEvents, eventLine, writeDataSet } = await import('../../journal/export.js');
      await using journal = await openJournal(options, context);
      const query = selection(options);
      const { dataSet } = options;
      if (dataSet === undefined) {
        let count = 0;
        for await (const event of allEvents(journal, query, { signal })) {
          terminal.out(eventLine(event));
          count += 1;
        }
        terminal.note(`${count} events`);
        return;
      }
      const name = options.name ?? basename(dataSet);
      const { samples, withoutPicture, name: cardName } = await writeDataSet(journal, query, dataSet, { name, signal });
      terminal.out(`${cardName}: ${samples} samples in ${dataSet}`);
      if (withoutPicture > 0)
        terminal.note(
          `${withoutPicture} answers were left out: their pictures were not kept (journal.frames) or are gone`,
        );
      if (samples === 0) setExitCode(1);
    });
}

async function openJournal({ config, journal }: LogOptions, { environment }: CommandContext) {
  const { Journal } = await import('../../journal/journal.js');
  if (journal !== undefined) return Journal.openReadOnly(journal);
  const [{ SdkError }, { journalFile }, { loadConfig }] = await Promise.all([
    import('scenebus'),
    import('../../app/journal-options.js'),
    import('../../config/load.js'),
  ]);
  if (config === undefined)
    throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected --config or --journal, which say whose log to read.');
  const file = journalFile(await loadConfig(config, environment), environment);
  if (file === undefined)
    throw new SdkError('ERR_ARGUMENT_INVALID', `${config} keeps no journal: journal.enabled is false.`);
  return Journal.openReadOnly(file);
}

function selection({ kind, camera, from, to }: LogOptions): Pick<JournalQuery, 'kinds' | 'camera' | 'from' | 'to'> {
  return { kinds: kind, camera, from, to };
}

/** One at a time: an option of many values would take the words behind it too. */
function collectKinds(value: string, before: readonly StoredKind[] = []): StoredKind[] {
  const kind = STORED_KINDS.find((known) => known === value);
  if (kind === undefined) throw new InvalidArgumentError(`Expected one of ${STORED_KINDS.join(', ')}.`);
  return [...before, kind];
}

/** Unix milliseconds of a date, or of so long ago. */
export function parseTime(value: string, _previous?: unknown, nowMs: number = Date.now()): number {
  const ago = /^(\d+(?:\.\d+)?)([smhd])$/.exec(value);
  if (ago) return nowMs - Number(ago[1]) * { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[ago[2] as 's']!;
  const atMs = /^\d{4}-\d\d-\d\d/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(atMs)) throw new InvalidArgumentError('Expected a time like 2026-11-30T08:00, or 90m, 12h, 7d.');
  return atMs;
}

function describe({ kind, atMs, camera, body }: JournalEvent, { paint }: Terminal): string {
  const head = `${new Date(atMs).toISOString()} ${paint('dim', kind)}${camera === null ? '' : ` ${paint('bold', camera)}`}`;
  const { question, answer, error, state, part, problem, watch, value } = body as {
    readonly [name: string]: unknown;
    readonly answer?: { readonly text: string } | null;
    readonly error?: { readonly message: string } | null;
    readonly problem?: { readonly message: string } | null;
  };
  switch (kind) {
    case 'answer':
      return `${head} ${question ?? ''} ${paint('bold', answer?.text ?? `failed: ${error?.message}`)}`;
    case 'scene':
      return `${head} ${answer?.text}`;
    case 'watch':
      return `${head} ${watch}: ${question} ${paint('bold', String(value))}`;
    case 'problem':
      return `${head} ${part}: ${problem?.message ?? 'recovered'}`;
    case 'status':
      return `${head} ${state}`;
  }
}
