import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { loadModel } from 'scenebus';
import { afterAll, beforeAll, expect, test } from 'vitest';

const tlsFile = (name: string) => fileURLToPath(new URL(`../../../fixtures/tls/${name}`, import.meta.url));
const caFile = tlsFile('ca.pem');

let server: Server;
let url: string;
const visits: string[] = [];
beforeAll(async () => {
  const [key, cert] = await Promise.all(['server.key', 'server.pem'].map((name) => readFile(tlsFile(name))));
  server = createServer({ key, cert }, (request, response) => {
    visits.push(`${request.url}`);
    request.resume();
    const whole = { choices: [{ message: { content: 'a cup' }, finish_reason: 'stop' }] };
    const answer = request.url === '/v1/models' ? { data: [{ id: 'big' }] } : whole;
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `https://localhost:${(server.address() as AddressInfo).port}/v1/`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const remote = () => ({ url, model: 'big', capabilities: { logProbabilities: false }, retries: { most: 0 } });

test('a server whose certificate nobody known has signed is not spoken to', async () => {
  await expect(loadModel({ remote: remote() })).rejects.toMatchObject({
    code: 'ERR_REMOTE_UNREACHABLE',
    message: expect.stringContaining('certificate'),
  });
  expect(visits).toEqual([]);
});

test('one whose certificate is given is, and an answer in one piece is an answer', async () => {
  await using model = await loadModel({ remote: { ...remote(), caFile } });
  const stream = model.generate({ messages: [{ role: 'user', content: 'What is there?' }] });
  const pieces: string[] = [];
  for await (const piece of stream) pieces.push(piece);
  expect(pieces).toEqual(['a cup']);
  expect(visits).toEqual(['/v1/models', '/v1/chat/completions']);
  await expect(loadModel({ remote: { ...remote(), caFile: `${caFile}.none` } })).rejects.toMatchObject({
    code: 'ERR_CONFIG_INVALID',
  });
});
