import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { type CommandContext, examples } from '../command-context.js';
import { addModelOptions, type ModelCommandOptions } from '../model-options.js';

interface ServeOptions extends ModelCommandOptions {
  readonly host: string;
  readonly port: number;
  readonly keyFile?: string;
  readonly name?: string;
  readonly allowHost?: readonly string[];
  readonly fetchFrom?: readonly string[];
  readonly fetchPrivate?: boolean;
}

const KEY_VARIABLE = 'SCENEBUS_SERVE_KEY';

export function addServeCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('serve')
    .description("Serve a model over HTTP, as clients of OpenAI's and Ollama's APIs expect it, until it is stopped")
    .argument('[model]', 'model folder; default: --model')
    .option('--host <address>', 'interface; any but loopback needs a key', '127.0.0.1')
    .option('--port <number>', '0: any free one', parsePort, 8_089)
    .option('--key-file <file>', `holds the key that clients send; or give ${KEY_VARIABLE}`)
    .option('--allow-host <name...>', 'more names that clients reach this machine by')
    .option(
      '--fetch-from <origin...>',
      'where pictures may be fetched from: https://host, https://*.host, http://host:port',
    )
    .option('--fetch-private', 'names of --fetch-from may lead to this machine and to private networks')
    .option('--name <name>', "what clients call the model; default: the model's own name");
  addModelOptions(command)
    .addHelpText(
      'after',
      `
POST /v1/chat/completions, /v1/responses, GET /v1/models; POST /api/generate, /api/chat, /api/show, GET /api/tags.
Pictures come as data URLs, or in base64: none is fetched from anywhere but --fetch-from. There is no TLS: beyond a
network that you trust put a proxy with TLS before it. What a request asks and this server does not do is refused, or
said in scenebus.warnings.
${examples('scenebus serve', 'scenebus serve ./llama-int4 --name llama3.2-vision', 'scenebus serve --host 10.0.0.7 --key-file /etc/scenebus/serve.key')}`,
    )
    .action(async (folder: string | undefined, options: ServeOptions) => {
      const { terminal, signal, environment } = context;
      const key = await keyOf(options, environment);
      const [{ ModelServer }, { RemotePictures }, { loadForCommand }, { createLogger }] = await Promise.all([
        import('../../openai/server.js'),
        import('../../openai/remote-pictures.js'),
        import('../load-for-command.js'),
        import('../logger.js'),
      ]);
      const { host, port, name, allowHost, fetchFrom: origins, fetchPrivate: privateAddresses } = options;
      const remote = origins === undefined ? undefined : new RemotePictures({ origins, privateAddresses });
      await using model = await loadForCommand({ ...options, model: folder ?? options.model }, context);
      const logger = createLogger(terminal, options.verbose ? 'debug' : 'warn');
      const served = { model, modelName: name, host, port, key, allowedHosts: allowHost, pictures: { remote }, logger };
      await using server = await ModelServer.start(served);
      terminal.out(`${name ?? model.info.name} at ${server.address}/v1`);
      for (const notice of model.info.notices) terminal.note(notice);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
    });
}

/** @throws SdkError ERR_CONFIG_INVALID for a file that cannot be read or holds none */
async function keyOf(
  { keyFile }: ServeOptions,
  environment: CommandContext['environment'],
): Promise<string | undefined> {
  if (keyFile === undefined) return environment[KEY_VARIABLE] || undefined;
  const { SdkError } = await import('scenebus');
  const text = await readFile(keyFile, 'utf8').catch((cause: Error) => {
    throw new SdkError('ERR_CONFIG_INVALID', `The key cannot be read from ${keyFile}: ${cause.message}`, { cause });
  });
  const key = text.trim();
  if (key === '' || /\s/.test(key))
    throw new SdkError('ERR_CONFIG_INVALID', `Expected one key in ${keyFile}, on one line, but it holds none or more.`);
  return key;
}

/** For commander. */
function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError('Expected a port from 0 to 65535.');
}
