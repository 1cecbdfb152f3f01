/** The lines for curl that the README shows, run as they stand there. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { startConsole } from '../../support/console.js';

/** Of the block that asks: each command with its continuation lines. */
async function commands(): Promise<string[]> {
  const readme = await readFile(new URL('../../../README.md', import.meta.url), 'utf8');
  const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!);
  const block = blocks.find((each) => each.includes('/api/ask')) ?? '';
  return block.replaceAll('\\\n', ' ').trim().split('\n');
}

test('the README’s curl asks, and listens', async () => {
  await using device = await startConsole();
  const { body } = await device.json('admin', '/api/tokens', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'program', role: 'operator' }),
  });
  const { secret } = body as { secret: string };
  /** Until it has said this, or ended. */
  const output = async (command: string, wanted: RegExp): Promise<string> => {
    expect(command).toContain('http://127.0.0.1:8088');
    const here = command.replace('http://127.0.0.1:8088', device.console.address);
    const child = spawn('sh', ['-c', `exec ${here}`], { env: { ...process.env, TOKEN: secret } });
    const ended = once(child, 'close');
    let text = '';
    for await (const part of child.stdout) {
      text += String(part);
      if (wanted.test(text)) break;
    }
    child.kill();
    await ended;
    return text;
  };
  const [ask, listen, ...more] = await commands();
  expect(more).toEqual([]);
  const answer = await output(ask!, /^event: answer\ndata: .*\n/m);
  expect(answer).toMatch(/^event: text\ndata: /m);
  expect(answer).toContain('a red cup');
  expect(answer).toContain('"label":"red cup"');
  expect(await output(listen!, /^event: state\ndata: .*\n/m)).toContain('"cameras"');
});
