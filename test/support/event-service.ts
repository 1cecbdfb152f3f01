/**
 * The service in a process of its own, for tests that kill it: a camera without frames, a model without thoughts, and
 * watch events as fast as the journal takes them. The numbers of those that are accepted stand in JOURNAL_FOLDER/accepted.
 *
 *   node event-service.js BROKER JOURNAL_FOLDER FIRST LAST
 */
import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { silentLogger } from 'scenebus';
import { DeviceService } from '#device/app/device-service.js';
import { FakeCamera, fakeConfig, fakeModel } from './device-fakes.js';

const [broker = '', directory = '', first = '1', last = '1'] = process.argv.slice(2);
/** Emitted and not yet accepted. */
const UNDER_WAY = 64;

const config = await fakeConfig({
  device: 'victim',
  cameras: [{ id: 'cam', address: 'fake', describe: false }],
  broker: { url: broker },
  journal: { directory, waiting: { maxPerSecond: 10_000 } },
});
const service = await DeviceService.start(config, {
  logger: silentLogger,
  parts: { openCamera: async () => new FakeCamera(), loadModel: async () => fakeModel().model },
});
console.log('started');
const accepted = openSync(join(directory, 'accepted'), 'a');

const frame = { id: 'cam-1', capturedAtMs: 1, width: 64, height: 48 };
const emit = async (number: number): Promise<void> => {
  const body = {
    frame,
    model: { id: 'fake' },
    watch: 'door',
    eventId: String(number),
    type: 'update' as const,
    question: 'How many?',
    answerType: 'number' as const,
    value: number,
    previous: null,
    probability: null,
    startedAtMs: 1,
    evidence: { objects: [] },
  };
  await service.hub.emit('watch', body, { camera: 'cam', frame });
  // Synchronous: what is written here has left this process when it is killed in the next moment.
  writeSync(accepted, `${number}\n`);
};
let next = Number(first);
const worker = async (): Promise<void> => {
  while (next <= Number(last)) await emit(next++);
};
await Promise.all(Array.from({ length: UNDER_WAY }, worker));
// Until it is killed or told to stop: what was accepted is still to be delivered.
process.once('SIGTERM', () => void service.stop());
