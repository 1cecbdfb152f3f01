import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { version } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { samplingOf } from '#device/cli/model-options.js';
import { createProgram, runCli } from '#device/cli/program.js';
import { captureTerminal } from '../../../support/captured-terminal.js';

async function scenebus(...args: string[]) {
  const terminal = captureTerminal();
  const code = await runCli(args, { terminal, environment: {} });
  return { code, out: terminal.output(), err: terminal.errors() };
}

function commandPaths(): string[][] {
  const context = {
    terminal: captureTerminal(),
    signal: new AbortController().signal,
    environment: {},
    onReload: () => () => {},
    setExitCode: () => {},
  };
  const paths: string[][] = [];
  const visit = (command: ReturnType<typeof createProgram>, path: string[]) => {
    paths.push(path);
    for (const child of command.commands) visit(child, [...path, child.name()]);
  };
  visit(createProgram(context), []);
  return paths;
}

describe('help', () => {
  test.each(commandPaths().map((path) => [path.join(' ') || '(none)', path] as const))(
    'of the command "%s" says what it does and ends with 0',
    async (_, path) => {
      const { code, out, err } = await scenebus(...path, '--help');
      expect(code).toBe(0);
      expect(err).toBe('');
      expect(out).toContain(`Usage: ${['scenebus', ...path].join(' ')}`);
      // A command that only groups others shows those instead of an example.
      expect(out).toMatch(/Examples?:\n {2}\$ scenebus|Commands:/);
    },
  );
});

describe('help of quantize', () => {
  test('tells what is used, where from, and what the output must be called', async () => {
    const { out } = await scenebus('quantize', '--help');
    const text = out.replace(/\s+/g, ' ');
    expect(text).toContain('at most 64 pictures with 8 questions each are used');
    expect(text).toContain('default: evaluation/scenes.jsonl beside the source folder');
    expect(text).toContain('must begin with "Llama"');
  });
});

describe('merge-lora and quantize --from', () => {
  test('tell what they take', async () => {
    const quantize = (await scenebus('quantize', '--help')).out.replace(/\s+/g, ' ');
    expect(quantize).toMatch(/--from <format> .*choices: "auto", "mlx", "awq", "gptq", "compressed-tensors"/);
    expect(quantize).toContain('--lora <folder>');
    const merge = (await scenebus('merge-lora', '--help')).out.replace(/\s+/g, ' ');
    expect(merge).toContain('adapter_config.json and adapter_model.safetensors');
    expect(merge).toContain('must begin with "Llama"');
  });

  test('end with an error that names what is missing', async () => {
    const { code, err } = await scenebus('merge-lora', 'examples/demo-model/checkpoint', '/nothing', '/tmp/never-made');
    expect(code).not.toBe(0);
    expect(err).toContain('Expected adapter_config.json of a LoRA adapter in /nothing');
  });
});

describe('how answers are drawn', () => {
  test.each(['ask', 'describe'])('%s takes the options of the SDK', async (command) => {
    const { out } = await scenebus(command, '--help');
    for (const option of ['--temperature', '--top-k', '--top-p', '--min-p', '--repetition-penalty', '--seed'])
      expect(out).toContain(option);
  });

  test.each([
    ['--temperature', '-1'],
    ['--temperature', 'warm'],
    ['--top-k', '1.5'],
    ['--top-p', '0'],
    ['--min-p', '1.1'],
    ['--repetition-penalty', '0'],
    ['--seed', ''],
    ['--seed', '0x10'],
  ])('refuses %s %s', async (option, value) => {
    const { code, err } = await scenebus('ask', `${option}=${value}`, 'a.jpg', 'What?');
    expect(code).toBe(2);
    expect(err).toMatch(/Expected a (whole )?number/);
  });

  test('says what changes nothing without a temperature, and hands on what is given', () => {
    const warnings: string[] = [];
    const onWarning = (message: string) => void warnings.push(message);
    const drawn = { temperature: 0.7, topK: 5, minP: 0.1, seed: 3 };
    expect(samplingOf(drawn, onWarning)).toEqual(drawn);
    expect(samplingOf({ repetitionPenalty: 1.2 }, onWarning)).toEqual({ repetitionPenalty: 1.2 });
    expect(warnings).toEqual([]);
    samplingOf({ temperature: 0, topK: 5, seed: 3 }, onWarning);
    expect(warnings).toEqual([expect.stringContaining('--top-k, --seed changes nothing')]);
  });
});

describe('exit codes', () => {
  test('the version is printed with 0', async () => {
    expect(await scenebus('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });

  test.each([
    ['an unknown command', ['fly'], "unknown command 'fly'"],
    ['an unknown option', ['doctor', '--fast'], "unknown option '--fast'"],
    ['a missing argument', ['config', 'check'], "missing required argument 'file'"],
    [
      'a priority that there is not',
      ['bus', 'ask', 'kiosk', 'Who?', '--priority', 'urgent'],
      "argument 'urgent' is invalid. Allowed choices are low, normal, high.",
    ],
  ])('%s is wrong use: 2, and says where help is', async (_, args, message) => {
    const { code, err } = await scenebus(...args);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  test('a wrong configuration is wrong use, named by its code', async () => {
    const { code, out, err } = await scenebus('config', 'check', '/nonexistent/config.yaml');
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toMatch(/^error ERR_CONFIG_INVALID: Cannot read \/nonexistent\/config\.yaml/);
  });
});

describe('bus schema', () => {
  test('prints JSON Schemas by name, an AsyncAPI document or a page, and writes all of them', async () => {
    const schemas = await scenebus('bus', 'schema');
    expect(schemas.code).toBe(0);
    expect(JSON.parse(schemas.out)).toMatchObject({ ask: { $id: 'urn:scenebus:ask:1' }, event: { type: 'object' } });
    const document = JSON.parse((await scenebus('bus', 'schema', '--asyncapi', '--root', 'site/bus')).out);
    expect(document).toMatchObject({ asyncapi: '3.0.0' });
    expect(document.channels.scene.address).toBe('site/bus/{device}/camera/{camera}/scene');
    expect((await scenebus('bus', 'schema', '--markdown')).out).toMatch(/^# The bus contract/);
    const folder = await mkdtemp(join(tmpdir(), 'scenebus-schema-'));
    try {
      expect((await scenebus('bus', 'schema', '--out', join(folder, 'a', 'b'))).err).toMatch(/wrote \d+ files/);
      const files = await readdir(join(folder, 'a', 'b'), { recursive: true });
      expect(files).toEqual(expect.arrayContaining(['README.md', 'asyncapi.json', 'schemas/ask.json']));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
