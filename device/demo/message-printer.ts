/** Styles of text that a message uses. */
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'magenta' | 'cyan';
export type Painter = (style: Style, text: string) => string;

/** Where the demo writes; the terminal of the command line is one. */
export interface DemoOutput {
  /** One line of the result. */
  out(line?: string): void;
  /** One line about the way to it. */
  note(line: string): void;
  readonly paint: Painter;
}

/** Prints one bus message for people: its topic, then what matters of its payload. */
export function printMessage(topic: string, payload: unknown, terminal: DemoOutput): void {
  const { paint } = terminal;
  const [first = '', ...rest] = summarise(payload, paint);
  terminal.out(`${paint('cyan', topic)}  ${first}`);
  for (const line of rest) terminal.out(`    ${line}`);
}

interface Fields {
  readonly [name: string]: unknown;
}

function isFields(value: unknown): value is Fields {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** The first line, then further ones. Knows the payloads by their schema ids; others are shown as they are. */
function summarise(payload: unknown, paint: Painter): string[] {
  if (!isFields(payload)) return [String(payload)];
  const kind = String(payload.schema ?? '').split('/')[0];
  switch (kind) {
    case 'scenebus.availability':
      return [paint('green', String(payload.state))];
    case 'scenebus.info':
      return [isFields(payload.model) ? describeModel(payload.model) : 'the model is being loaded'];
    case 'scenebus.health':
      return [describeHealth(payload)];
    case 'scenebus.camera-status':
      return [describeCamera(payload, paint)];
    case 'scenebus.scene':
      return [
        paint('bold', String(payload.text)),
        ...describeObjects(payload.objects, paint),
        describeTimings(payload),
      ];
    case 'scenebus.response':
      return describeResponse(payload, paint);
    default:
      return [JSON.stringify(payload)];
  }
}

function describeModel({ id, weights, backend, numerics }: Fields): string {
  return `model ${id}: ${weights} on ${backend}, numerics ${numerics}`;
}

function describeHealth({ state, problems, memory }: Fields): string {
  const reasons = Array.isArray(problems) ? problems.filter(isFields).map((problem) => String(problem.message)) : [];
  const resident = isFields(memory) ? Number(memory.processRssBytes) / 2 ** 20 : 0;
  return [String(state), `${resident.toFixed(0)} MiB`, ...reasons].join(', ');
}

function describeCamera({ state, image, reason }: Fields, paint: Painter): string {
  const size = isFields(image) ? `, ${image.width} × ${image.height}` : '';
  const why = isFields(reason) ? `: ${reason.message}` : '';
  return `${paint(state === 'running' ? 'green' : 'yellow', String(state))}${size}${why}`;
}

function describeResponse(payload: Fields, paint: Painter): string[] {
  if (isFields(payload.error)) return [paint('red', `${payload.error.code}: ${payload.error.message}`)];
  if (!isFields(payload.data)) return [JSON.stringify(payload)];
  const { question, text, objects } = payload.data;
  return [
    `${paint('dim', String(question))} ${paint('bold', String(text))}`,
    ...describeObjects(objects, paint),
    describeTimings(payload.data),
  ];
}

function describeObjects(objects: unknown, paint: Painter): string[] {
  if (!Array.isArray(objects)) return [];
  return objects.filter(isFields).map(({ label, boxPixels, score, source, verified }) => {
    const box = Array.isArray(boxPixels) ? `[${boxPixels.join(', ')}]` : '';
    const verdict = verified === undefined ? '' : verified ? ', verified' : ', refuted';
    return `${paint('green', String(label))} ${box} score ${Number(score).toFixed(2)} (${source}${verdict})`;
  });
}

function describeTimings({ timings, trigger }: Fields): string {
  if (!isFields(timings)) return '';
  const milliseconds = (name: string) => `${Math.round(Number(timings[name] ?? 0))} ms`;
  const cause = trigger === undefined ? '' : `trigger: ${trigger}, `;
  return `${cause}first token after ${milliseconds('timeToFirstTokenMs')}, whole answer ${milliseconds('totalMs')}`;
}
